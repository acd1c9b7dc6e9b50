// Package hostile tests on a real cluster what Weft says and does when things
// are wrong: objects that are mistakes, proxies that refuse, pods that want
// another's identity, and an attacker at every port. Everything is done as a
// user does it, by the weft binary and kubectl; it imports test/cluster and of
// the mesh nothing.
package hostile

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftmesh/weft/test/e2e/rig"
)

// bench is a cluster with Weft installed as a user would, in its default
// profile, and an attacker in it.
type bench struct {
	*rig.Rig
	stranger string // path of the attacker's program on this machine
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{Rig: rig.New(t, rig.Program{Package: "./test/e2e/hostile/stranger"})}
	b.stranger = filepath.Join(b.Bin, "stranger")
	b.do("install", "-y")
	b.Must(b.file("apps.yaml"), "apply", "-f", "-")
	b.Must("", "-n", "shop", "wait", "--for=condition=Available", "deployment", "--all", "--timeout=120s")
	b.Must("", "-n", "outside", "wait", "--for=condition=Ready", "pod/stranger", "--timeout=120s")
	return b
}

func (b *bench) on(t *testing.T) *bench { return &bench{b.On(t), b.stranger} }

func (b *bench) file(name string) string {
	b.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

// do calls weft, which must succeed.
func (b *bench) do(args ...string) string { b.Helper(); return b.MustWeft("", args...) }

// says holds what a command said to its exit code and to what must be in it.
func (b *bench) says(s rig.Said, code int, want ...string) {
	b.Helper()
	if err := holds(s, code, want); err != nil {
		b.Error(err)
	}
}

// soonSays is says of a weft command, given as its words, that is called until
// it holds: where a machine that stands still for a while changes the answer.
func (b *bench) soonSays(command string, code int, want ...string) {
	b.Helper()
	b.Eventually("weft "+command, func() error {
		return holds(b.Weft("", strings.Fields(command)...), code, want)
	})
}

// holds is the error of says.
func holds(s rig.Said, code int, want []string) error {
	if s.Code != code {
		return fmt.Errorf("want exit code %d: %v", code, s)
	}
	for _, text := range want {
		if !strings.Contains(s.All(), text) {
			return fmt.Errorf("it does not say %q: %v", text, s)
		}
	}
	return nil
}

// asStranger runs the attacker in its pod and reads what it prints.
func (b *bench) asStranger(out any, args ...string) {
	b.Helper()
	text := b.Must("", append([]string{"-n", "outside", "exec", "stranger", "--", "/stranger"}, args...)...)
	if err := json.Unmarshal([]byte(text), out); err != nil {
		b.Fatalf("the stranger printed %.300s: %v", text, err)
	}
}

// answered is what a request of the frontend to reviews was answered.
type answered struct {
	Version, Peer, Error string
}

func (b *bench) call(url string) (out answered, err error) {
	text, err := b.Printed("-n", "shop", "deploy/frontend", "-c", "frontend", "--", "/bin/bookshop", "get", url)
	if err == nil {
		err = json.Unmarshal([]byte(text), &out)
	}
	return out, err
}

// all calls reviews some times and says whether only one version answered.
func (b *bench) all(version string) error {
	for range 6 {
		got, err := b.call("http://reviews/")
		if err != nil {
			return err
		}
		if got.Version != version {
			return fmt.Errorf("%s answered, want %s", got.Version, version)
		}
	}
	return nil
}
