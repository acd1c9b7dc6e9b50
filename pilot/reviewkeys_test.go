package pilot

import (
	"testing"

	"github.com/weftmesh/weft/internal/config"
)

// TestKeysAwayRefuseNothing: a rule is stored while its keys cannot be fetched,
// and one whose URL never can be asked is not.
func TestKeysAwayRefuseNothing(t *testing.T) {
	const uri = "https://issuer.example.com/keys"
	set := config.Set{}.With(&config.Object{Kind: config.KeySet, Name: uri, Spec: &config.Keys{Failed: "it answers 404"}})
	r := &reviewer{current: func() (config.Set, bool) { return set, true }}
	for at, refused := range map[string]bool{uri: false, "file:///etc/passwd": true} {
		objects, _ := config.Decode("a.yaml", []byte("apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: a, namespace: default}\nspec: {jwtRules: [{issuer: i, jwksUri: '"+at+"'}]}\n"))
		own, other := r.check(objects[0])
		if (len(own) > 0) != refused {
			t.Errorf("%s: by itself wrong: %v", at, own)
		}
		if !refused && len(other) == 0 {
			t.Errorf("%s: nothing is said of keys that are away", at)
		}
	}
	if _, found := config.Decode("a.yaml", []byte("apiVersion: weft.mesh/v1\nkind: KeySet\nmetadata: {name: a}\nspec: {text: x}\n")); len(found) == 0 {
		t.Error("a user wrote a KeySet")
	}
}
