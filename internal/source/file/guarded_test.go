package file

import (
	"testing"

	"github.com/weftmesh/weft/internal/config"
)

// TestAMistakeDoesNotKeepGuardsOpen: a file with a mistake stays on its last good
// objects, but a policy in it that closes something does so at once.
func TestAMistakeDoesNotKeepGuardsOpen(t *testing.T) {
	policy := func(mode string) string {
		return "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec: {mtls: {mode: " + mode + "}}\n"
	}
	route := func(field string) string {
		return "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {" + field + ": [a]}\n"
	}
	const added = "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: new}\nspec: {}\n"
	read := func(text string) []*config.Object {
		objects, _ := config.Decode("a.yaml", []byte(text))
		return objects
	}
	was := read(policy("PERMISSIVE") + route("hosts"))
	now := read(policy("STRICT") + route("hostss") + added)
	got := map[config.Kind]*config.Object{}
	for _, o := range keep(was, now, true) {
		got[o.Kind] = o
	}
	if len(got) != 3 || got[config.VirtualService] != was[1] || got[config.AuthorizationPolicy] == nil {
		t.Fatalf("in force are %v", got)
	}
	if got[config.PeerAuthentication] != now[0] {
		t.Errorf("in force is the old policy, %v", got[config.PeerAuthentication])
	}
	// Not to be read at all, it is not taken away.
	if left := keep(was, nil, true); len(left) != 2 || left[0] != was[0] {
		t.Errorf("in force are %v", left)
	}
}
