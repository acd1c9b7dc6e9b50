package cli

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// TestDownPassesByAHungMesh: a mesh that accepts a connection and says nothing keeps
// nobody from stopping another.
func TestDownPassesByAHungMesh(t *testing.T) {
	t.Setenv("WEFT_MESH", "")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("@weft/%d/hung%d", os.Getuid(), os.Getpid())})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan string)
	dir := t.TempDir()
	go func() {
		code, _, stderr := run(t, "down", dir)
		ended <- fmt.Sprint(code, stderr)
	}()
	select {
	case text := <-ended:
		if !strings.Contains(text, "does not answer") || !strings.Contains(text, "no mesh of "+dir+" is running") {
			t.Error(text)
		}
	case <-time.After(time.Minute):
		t.Fatal("weft down waits for a mesh that is not the one to stop")
	}
}
