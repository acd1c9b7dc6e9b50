package pilot_test

import (
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/authz"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/pilot"
	"github.com/weftmesh/weft/test/golden"
)

// TestExplainIsWhatEnvoyDoes: for each call of the authz cases what `weft authz
// explain` says is what the simulator says, which TestGolden holds to Envoy.
func TestExplainIsWhatEnvoyDoes(t *testing.T) {
	files, err := filepath.Glob("testdata/authz-*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	compared, denied := 0, 0
	for _, path := range files {
		f, err := golden.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		b := behaviour{File: f}
		set, _ := b.set(t, "config.yaml")
		p, listener := b.proxy(t)
		all := resources(set, p)
		simulated, err := simulate.New(all)
		if err != nil {
			t.Fatal(err)
		}
		content, _ := b.Get("calls.yaml")
		calls, err := golden.Calls(content)
		if err != nil {
			t.Fatal(err)
		}
		to := model.Workload{Namespace: p.Namespace, Name: p.Name, Labels: p.Labels, InMesh: true}
		for i, c := range calls {
			call, err := c.Resolve(golden.Resolver{Listener: listener})
			if err != nil {
				t.Fatalf("%s, call %d: %v", path, i+1, err)
			}
			outcomes, err := simulated.Run(call)
			if err != nil {
				t.Fatalf("%s, call %d: %v", path, i+1, err)
			}
			allowed, ok := rightsOf(outcomes[0])
			if !ok {
				continue
			}
			v := pilot.Judge(set, to, asSeen(call, p))
			compared++
			if !allowed {
				denied++
			}
			if v.Allowed != allowed {
				text, _ := json.Marshal(v)
				t.Errorf("%s, call %d: allowed is %v to Envoy, and not so explained: %s", path, i+1, allowed, text)
			}
			for _, policy := range v.Policies {
				for _, r := range policy.Rules {
					if r.Takes == (len(r.Misses) > 0) {
						t.Errorf("%s, call %d: rule %d of %s takes it: %v, and misses %v", path, i+1, r.Index, policy.Name, r.Takes, r.Misses)
					}
				}
			}
		}
	}
	if t.Logf("%d calls, %d denied", compared, denied); compared < 100 || denied < 40 {
		t.Error("the cases are too few to show anything")
	}
}

// rightsOf says what became of a call by policies; not ok: something else ended
// it, or an external authorizer did.
func rightsOf(o simulate.Outcome) (allowed, ok bool) {
	switch {
	case o.Closed != "":
		return false, o.Closed == "RBAC: access denied"
	case o.Local:
		return false, o.Body == "RBAC: access denied"
	}
	return true, true
}

// asSeen is a call as the server's proxy knows it.
func asSeen(call simulate.Call, p model.Proxy) authz.Call {
	out := authz.Call{
		Source: netip.MustParseAddr("127.0.0.1"), Destination: call.Destination.Addr(), Port: uint32(call.Destination.Port()), Bytes: call.TCP,
		Method: call.Method, Host: strings.TrimSuffix(call.Host, "."), Path: authz.Normal(call.Path, new(model.Settings).PathForm()), Headers: call.Headers,
	}
	if out.Method == "" {
		out.Method = "GET"
	}
	if out.Path == "" {
		out.Path = "/"
	}
	if call.Source.IsValid() {
		out.Source = call.Source.Addr()
	}
	if out.Remote = out.Source; p.Sidecar {
		forwarded, _ := call.Headers.Get("x-forwarded-for")
		out.Remote = pilot.Remote(out.Source, forwarded)
	}
	if call.TLS != nil {
		out.ServerName, out.Identity = call.TLS.SNI, call.TLS.Identity
		if call.TLS.SNI == "any.example.com" { // case authz-unproven: nobody's certificate is verified there
			out.Identity = ""
		}
	}
	if bearer, ok := call.Headers.Get("authorization"); ok {
		if parts := strings.Split(bearer, "."); len(parts) == 3 {
			raw, _ := base64.RawURLEncoding.DecodeString(parts[1])
			_ = json.Unmarshal(raw, &out.Claims)
		}
	}
	return out
}
