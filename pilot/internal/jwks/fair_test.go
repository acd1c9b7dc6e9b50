package jwks_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftmesh/weft/pilot/internal/jwks"
)

// TestFairTurns: a namespace whose key servers hang, hundreds of them, does not keep
// another one's keys waiting, not even by wishing for those too.
func TestFairTurns(t *testing.T) {
	good := keySet(t)
	hangs, honest := newIssuer(t, slow), newIssuer(t, text(good))
	greedy := []string{rule(honest.URL)}
	for i := range 300 {
		greedy = append(greedy, rule(fmt.Sprintf("%s/%d", hangs.URL, i)))
	}
	r := start(t, jwks.Options{}, strings.Join(greedy[1:], ","))
	var none any
	r.until("all turns to be taken", func() bool { return hangs.asked.Load() >= 32 }, &none)
	r.apply(strings.Join(greedy, ","))
	if found := r.from.ApplyYAML("other.yaml", "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: b, namespace: other}\nspec: {jwtRules: ["+rule(honest.URL)+"]}\n"); len(found) > 0 {
		t.Fatal(found)
	}
	r.until("the other namespace's keys", func() bool { return honest.asked.Load() > 0 }, &none)
	if before := hangs.asked.Load(); before > 200 {
		t.Errorf("%d of the other's 300 fetches came first", before)
	}
}
