package pilot_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/authz"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/pilot"
	"github.com/weftmesh/weft/test/envoy"
)

// onePod is a Service with a pod.
const onePod = `
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {clusterIP: 10.96.0.1, selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-v1, namespace: default, labels: {app: reviews}}
spec: {containers: [{name: app, ports: [{containerPort: 9080}]}]}
status: {podIP: 10.1.0.1}
---
`

const bypassConfig = onePod + `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: default}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/admin/keys]}}]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: weft-system}
data: {mesh: "%s"}
`

// kept is what bypassConfig keeps from everyone.
const kept = "/admin/keys"

// modes are those of normalisation, by what MeshConfig says.
var modes = map[string]model.PathForm{
	"pathNormalization: {normalization: NONE}":                                                      {Slashes: model.SlashesKeep},
	"pathNormalization: {normalization: BASE}":                                                      {Segments: true, Slashes: model.SlashesKeep},
	"pathNormalization: {normalization: MERGE_SLASHES}":                                             {Segments: true, Merge: true, Slashes: model.SlashesKeep},
	"pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}":                                  {Segments: true, Merge: true, Slashes: model.SlashesForward},
	"defaultConfig: {connectionSettings: {profile: EDGE}}":                                          {Segments: true, Merge: true, Slashes: model.SlashesRedirect},
	"defaultConfig: {connectionSettings: {httpPathWithEscapedSlashesAction: REJECT_REQUEST}}":       {Segments: true, Slashes: model.SlashesReject},
	"defaultConfig: {connectionSettings: {httpPathWithEscapedSlashesAction: UNESCAPE_AND_FORWARD}}": {Segments: true, Slashes: model.SlashesForward},
}

// TestNoWayAround: a path that a policy denies is denied however it is written,
// as far as the mode of normalisation goes, and what is another path is not. What
// a real Envoy makes of a path is what weft authz explain and the simulator say.
// Source: Istio, MeshConfig.ProxyPathNormalization.
func TestNoWayAround(t *testing.T) {
	t.Parallel()
	for mode, how := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			p := sidecarOf(t, fmt.Sprintf(bypassConfig, mode))
			refused, passed := 0, 0
			for _, written := range attempts() {
				want := authz.Normal(pathOf(written), how)
				bare, _, _ := strings.Cut(want, "?")
				got := rawCall(t, p, written)
				if (got.Status == 403) != (bare == kept) && got.Status != 400 && got.Status != 307 {
					t.Errorf("%q is answered %d, and its path is %q", written, got.Status, bare)
				}
				if got.Status == 403 {
					refused++
				}
				for _, seen := range got.Seen {
					if passed++; seen.Request.Path != want {
						t.Errorf("%q: the app is asked for %q, want %q", written, seen.Request.Path, want)
					}
				}
			}
			t.Logf("%d refused by the policy, %d passed", refused, passed)
			if refused == 0 || passed == 0 {
				t.Error("the attempts tell nothing")
			}
		})
	}
}

// TestExplainTakesPathsAsThePodDoes: its own proxy may take them otherwise than
// the mesh's.
func TestExplainTakesPathsAsThePodDoes(t *testing.T) {
	t.Parallel()
	text := fmt.Sprintf(bypassConfig, "{}")
	own := strings.Replace(text, "labels: {app: reviews}}", `labels: {app: reviews}, annotations: {proxy.istio.io/config: "connectionSettings: {httpMergeSlashes: true}"}}`, 1)
	for from, allowed := range map[string]bool{text: true, own: false} {
		objects, wrong := config.Decode("config.yaml", []byte(from))
		if len(wrong) > 0 {
			t.Fatal(wrong)
		}
		set := config.Set{}
		for _, o := range objects {
			set = set.With(o)
		}
		got, err := pilot.Explain(set, pilot.Question{From: "10.9.9.9", To: "reviews-v1", Namespace: "default", Method: "GET", Path: "/admin//keys"})
		if err != nil || got.Allowed != allowed {
			t.Errorf("it is allowed: %v, %v; want %v", got.Allowed, err, allowed)
		}
	}
}

// pathOf is the path of a request's target, which may be a whole URL.
func pathOf(target string) string {
	if _, rest, ok := strings.Cut(target, "://"); ok {
		return rest[strings.IndexByte(rest, '/'):]
	}
	return target
}

// sidecarOf runs the sidecar of the pod of onePod, which is part of text.
func sidecarOf(t *testing.T, text string) *envoy.Proxy {
	t.Helper()
	return startAmong(t, text, model.Proxy{Sidecar: true, Name: "reviews-v1", Namespace: "default", Labels: map[string]string{"app": "reviews"}, Proven: true}, "")
}

func rawCall(t *testing.T, p *envoy.Proxy, target string) envoy.Observed {
	t.Helper()
	got, err := p.DoRaw(t.Context(), simulate.Call{
		Listener: "virtualInbound", Destination: netip.MustParseAddrPort("10.1.0.1:9080"), Host: "reviews", Method: "GET", Path: target,
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// attempts are the denied path in every way that somebody thought of, each byte
// of it and each byte there is percent-encoded, and a few hundred at random.
func attempts() []string {
	out := []string{
		kept, kept + "?", kept + "?x=/", "/" + kept, "/." + kept, "/x/.." + kept, "/admin//keys", "/admin/./keys", "/admin/keys/.", "/admin/keys/..",
		"/admin/keys/", "/admin/keys;x=1", "/admin;x/keys", "/admin/keys#", "/admin/keys#x", "/admin%23/keys", "/admin/keys%23", "/admin/keys%3f", "/admin/keys%3Fx",
		`/admin\keys`, `\admin\keys`, "/admin%5ckeys", "/admin%5Ckeys", "/admin%2fkeys", "/admin%2Fkeys", "%2Fadmin/keys", "/%2e/admin/keys", "/x/%2e%2e/admin/keys",
		"/x/.%2E/admin/keys", "/x%2f..%2fadmin/keys", "/%252e/admin/keys", "/%2561dmin/keys", "/ADMIN/keys", "/admin/keys%00", "/admin/keys%20", "/admin/keys.",
		"/x/..;a=b/admin/keys", "/x/..;/admin/keys", "/x/.;a/../admin/keys", "/.;/admin/keys", "/x/%2e%2E;a/admin/keys", "/x/..%3ba/admin/keys", "/x/..;a", "/x/.;", "/..;/..;/admin/keys", "/...;/admin/keys", "/x;/../admin/keys",
		"http://reviews/admin/keys", "http://reviews//admin/keys", "http://other/%61dmin/keys", "HTTP://reviews/admin/keys", "admin/keys", "*", "/%c0%afadmin/keys", "/..%c0%afadmin/keys",
	}
	for i := range len(kept) {
		out = append(out, kept[:i]+fmt.Sprintf("%%%02x", kept[i])+kept[i+1:], kept[:i]+fmt.Sprintf("%%%02X", kept[i])+kept[i+1:])
	}
	for b := range 256 {
		for _, form := range []string{"/admin%%%02xkeys", "/admin/%%%02Xkeys", "/admin/keys%%%02x", "/%%%02X/admin/keys"} {
			out = append(out, fmt.Sprintf(form, b))
		}
	}
	parts := []string{"/", "//", "/./", "/../", "/%2e/", "/%2E%2e/", "%2f", "%5C", `\`, ";", "?", "admin", "keys", "%61dmin", "key%73", "x", "/admin", "/keys", "."}
	random := rand.New(rand.NewPCG(7, 11))
	for range 600 {
		target := "/"
		for range 1 + random.IntN(6) {
			target += parts[random.IntN(len(parts))]
		}
		out = append(out, target)
	}
	return out
}
