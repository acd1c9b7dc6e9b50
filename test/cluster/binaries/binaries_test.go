package binaries

import (
	"slices"
	"testing"

	"github.com/weftmesh/weft/test/repository"
)

// TestEnsure needs every program of a cluster: it is what builds them in CI.
func TestEnsure(t *testing.T) {
	root, err := repository.Root()
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Concat([]string{"kubectl"}, ControlPlane, Nodes, MetalLB)
	paths, err := Ensure(t.Context(), root, func(line string) { t.Log(line) }, names...)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !isProgram(paths[name]) {
			t.Errorf("%s: no program at %q", name, paths[name])
		}
	}
}

func TestEnsureUnknown(t *testing.T) {
	root, err := repository.Root()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Ensure(t.Context(), root, nil, "no-such-program"); err == nil {
		t.Error("a program that no module has: no error")
	}
}
