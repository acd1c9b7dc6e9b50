package compile

import (
	"fmt"
	"testing"

	security "istio.io/api/security/v1beta1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/model"
)

// TestLargePolicies: 10,000 rules are all there; of a policy that no proxy could
// go through in time nothing is left but that it denies.
func TestLargePolicies(t *testing.T) {
	for _, tc := range []struct{ rules, values int }{{10_000, 4}, {10, 20_000}} {
		spec := &security.AuthorizationPolicy{}
		for i := range tc.rules {
			to := &security.Operation{}
			for j := range tc.values {
				to.Paths = append(to.Paths, fmt.Sprintf("/api/%d/%d", i, j))
			}
			spec.Rules = append(spec.Rules, &security.Rule{To: []*security.Rule_To{{Operation: to}}})
		}
		r := Mesh(newWorld(2).With(object(config.AuthorizationPolicy, "ns0", "large", spec)))
		p, _ := r.Mesh.Authorizations.Get("ns0/large")
		f, _ := r.Findings.Get("AuthorizationPolicy/ns0/large")
		switch small := tc.rules*(tc.values+1) <= maxPolicyValues; {
		case p == nil:
			t.Fatalf("%+v: there is none; findings %v", tc, list(r))
		case small && (len(p.Rules) != tc.rules || p.Action != model.AuthAllow || f != nil):
			t.Errorf("%+v: %d rules of action %s; findings %v", tc, len(p.Rules), p.Action, list(r))
		case !small && (len(p.Rules) != 1 || p.Action != model.AuthDeny || f == nil || f.List[0].Code != policyTooLarge.Code):
			t.Errorf("%+v: %d rules of action %s; findings %v", tc, len(p.Rules), p.Action, list(r))
		}
	}
}
