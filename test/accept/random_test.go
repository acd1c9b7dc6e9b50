package accept

import (
	"flag"
	"fmt"
	"testing"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot"
	"github.com/weftmesh/weft/test/random"
)

var (
	rounds = flag.Int("rounds", 6, "how many sets of random objects a real Envoy is given")
	seed   = flag.Uint64("seed", 1, "of the first set; the next have the next")
)

// TestEnvoyTakesWhatRandomObjectsMake: a sample of what test/random holds to
// the rules in Envoy's protos is held to Envoy itself, which knows more.
func TestEnvoyTakesWhatRandomObjectsMake(t *testing.T) {
	binary, err := envoybin.Ensure(t.Context(), func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	corpus, err := random.Load("../../pilot/testdata")
	if err != nil {
		t.Fatal(err)
	}
	proxies := map[string]model.Proxy{
		"sidecar": {Proven: true, Sidecar: true, Name: "reviews-v1", Namespace: "default", Labels: map[string]string{"app": "reviews", "version": "v1"}},
		"router":  {Proven: true, Name: "edge", Namespace: "weft-system", Labels: map[string]string{"istio": "ingressgateway"}},
	}
	for s := *seed; s < *seed+uint64(*rounds); s++ {
		// The body of a patch is the user's own: what Envoy knows beyond its
		// protos' rules is told by a NACK.
		objects := corpus.Objects(s, config.EnvoyFilter)
		for name, proxy := range proxies {
			t.Run(fmt.Sprintf("%d/%s", s, name), func(t *testing.T) {
				of := func(objects []random.Tree) string {
					return refusal(t, binary, bootstrap(t, pilot.Translate(corpus.Set(objects), proxy)))
				}
				if of(objects) != "" {
					objects = random.Shrink(objects, func(less []random.Tree) bool { return of(less) != "" })
					t.Errorf("%.2500s\n%.5000s", of(objects), random.YAML(objects...))
				}
			})
		}
	}
}
