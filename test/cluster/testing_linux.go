package cluster

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/weftmesh/weft/test/cluster/binaries"
	"github.com/weftmesh/weft/test/repository"
)

// shared is the API server of this process's tests.
var shared struct {
	once sync.Once
	api  *API
	err  error
}

// APIServer gives the API server that all tests of one package share: each test
// uses namespaces of its own. It ends with the process.
func APIServer(t testing.TB) *API {
	t.Helper()
	shared.once.Do(func() {
		shared.api, shared.err = StartAPI(context.Background(), Options{Progress: func(line string) { t.Log(line) }})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.api
}

// New brings up a cluster for one test, and takes it down at the test's end.
// Without root the test is skipped, but in CI it fails.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	Require(t)
	if o.Progress == nil {
		o.Progress = func(line string) { t.Log(line) }
	}
	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Report(context.Background()))
		}
		if err := c.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Require skips a test where no node can run, and says why; in CI it fails.
func Require(t testing.TB) {
	t.Helper()
	err := Missing()
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// printWhole: over WebSockets kubectl throws away what a command prints before it has
// made the stream for that ("Unknown stream id 1, discarding message"), and calls it a
// success. Every program that a test starts has this process' environment.
func printWhole() error { return os.Setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false") }

// Kubectl is the path of one: the machine's, or that of the cluster's version.
func Kubectl(t testing.TB) string {
	t.Helper()
	if err := printWhole(); err != nil {
		t.Fatal(err)
	}
	if path, err := exec.LookPath("kubectl"); err == nil {
		return path
	}
	root, err := repository.Root()
	if err != nil {
		t.Fatal(err)
	}
	built, err := binaries.Ensure(t.Context(), root, func(line string) { t.Log(line) }, "kubectl")
	if err != nil {
		t.Fatal(err)
	}
	return built["kubectl"]
}
