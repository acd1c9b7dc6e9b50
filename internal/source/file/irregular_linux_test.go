package file

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/config"
)

// What is no regular file is left alone: to read a pipe or a device may never end.
func TestPipesAndDevicesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "zero.yaml")); err != nil {
		t.Fatal(err)
	}
	object := "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"
	if err := os.WriteFile(filepath.Join(dir, "elsewhere"), []byte(object), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		got, err := Read(dir)
		if n := got.Set.Of(config.Namespace).Len(); err == nil && n != 1 {
			t.Errorf("%d objects, want the one that a link leads to", n)
		}
		read <- err
	}()
	select {
	case err := <-read:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it still reads")
	}
}
