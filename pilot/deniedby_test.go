package pilot_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/test/envoy"
)

// TestDenyingPolicyIsLogged: the access log names the rule that denied, by the
// name that Istio gives it.
// Source: Istio's page "Security Problems", "rbac_access_denied_matched_policy".
func TestDenyingPolicyIsLogged(t *testing.T) {
	t.Parallel()
	binary, err := envoybin.Ensure(t.Context(), func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "access.log")
	objects, _ := config.Decode("config.yaml", []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: weft-system}\ndata: {mesh: 'accessLogFile: "+file+"'}\n"+
		"---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: no-admin, namespace: default}\n"+
		"spec: {action: DENY, rules: [{to: [{operation: {paths: [/other]}}]}, {to: [{operation: {paths: [/admin]}}]}]}\n"))
	set := config.Set{}
	for _, o := range objects {
		set = set.With(o)
	}
	proxy, err := envoy.Start(t.Context(), envoy.Options{Binary: binary, Resources: resources(set, model.Proxy{Sidecar: true, Proven: true, Name: "app", Namespace: "default"})})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	found, err := proxy.Do(t.Context(), simulate.Call{Listener: "virtualInbound", Destination: netip.MustParseAddrPort("10.1.0.1:8080"), Host: "app", Path: "/admin"})
	if err != nil || found.Status != 403 {
		t.Fatalf("status %d, %v", found.Status, err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(60 * time.Second); ; {
		text, err := os.ReadFile(file)
		if strings.Contains(string(text), " 403 - rbac_access_denied_matched_policy[ns[default]-policy[no-admin]-rule[1]] ") {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the log says %q, %v", text, err)
		}
	}
}
