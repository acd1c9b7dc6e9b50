package jwks_test

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weftmesh/weft/pilot/internal/jwks"
)

// TestFairTurns: a namespace whose key servers hang, many of them, does not keep another
// one's keys waiting, not even by wishing for those too, twice, before the other does.
func TestFairTurns(t *testing.T) {
	good := keySet(t)
	honest := newIssuer(t, text(good))
	var asked atomic.Int64
	hang := func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		slow(w, r)
	}
	var greedy []string
	for range 150 {
		greedy = append(greedy, rule(newIssuer(t, hang).URL))
	}
	r := start(t, jwks.Options{}, strings.Join(slices.Repeat([]string{rule(honest.URL)}, 40), ","))
	r.await(honest.URL, "keys that are wished for many times", holds(good))
	r.apply(strings.Join(greedy, ","))
	var none any
	r.until("all turns to be taken", func() bool { return asked.Load() >= 32 }, &none)
	before := honest.asked.Load()
	r.apply(strings.Join(append(greedy, rule(honest.URL), rule(honest.URL)), ","))
	if found := r.from.ApplyYAML("other.yaml", "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: b, namespace: other}\nspec: {jwtRules: ["+rule(honest.URL)+"]}\n"); len(found) > 0 {
		t.Fatal(found)
	}
	r.until("the other namespace's keys", func() bool { return honest.asked.Load() > before }, &none)
	if n := asked.Load(); n > 110 {
		t.Errorf("%d of the other's 150 fetches came first", n)
	}
}
