package cluster

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/repository"
)

// Images builds the programs of this tree and their images, which are tagged
// with the version that the programs tell; packages are built beside them. It
// gives the folder of the programs and the images' archives.
func Images(t testing.TB, version string, packages ...string) (bin string, archives []string) {
	t.Helper()
	dir := t.TempDir()
	bin = filepath.Join(dir, "bin")
	out := filepath.Join(dir, "images")
	build := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=" + version, "-o", bin + "/", "./cmd/...", "./samples/bookshop/cmd/bookshop"}
	inTree(t, append(build, packages...)...)
	inTree(t, "run", "./install/images", "--bin", bin, "--out", out, "--tag", version)
	archives, err := filepath.Glob(out + "/*.tar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no images", err)
	}
	return bin, archives
}

// Release gives a weft of another version, and the images of one that was loaded
// its tag on every node: a new release in which nothing else has changed.
func (c *Cluster) Release(t testing.TB, of, version string) (weft string) {
	t.Helper()
	weft = filepath.Join(t.TempDir(), "weft")
	inTree(t, "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version="+version, "-o", weft, "./cmd/weft")
	for n := 1; n <= c.nodes; n++ {
		if err := c.Node(n).retag(t.Context(), of, version); err != nil {
			t.Fatal(err)
		}
	}
	return weft
}

// retag gives every image with a tag another one besides.
func (n Node) retag(ctx context.Context, of, tag string) error {
	ctr := []string{"ctr", "-a", containerdSocket, "-n", "k8s.io", "images"}
	names, err := n.Exec(ctx, append(ctr, "list", "-q")...)
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(names) {
		if repository, found := strings.CutSuffix(name, ":"+of); found {
			if _, err := n.Exec(ctx, append(ctr, "tag", name, repository+":"+tag)...); err != nil {
				return err
			}
		}
	}
	return nil
}

// inTree runs go in the repository's root.
func inTree(t testing.TB, args ...string) {
	t.Helper()
	root, err := repository.Root()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Eventually waits for check to give no error; patience ends a wait that hangs.
func Eventually(t testing.TB, patience time.Duration, what string, check func() error) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not in %v: %s: %v", patience, what, err)
		}
	}
}
