package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const guardedShop = `
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews, namespace: shop}
spec: {selector: {matchLabels: {app: reviews}}, template: {metadata: {labels: {app: reviews}}, spec: {containers: [{name: app, image: app}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {serviceAccountName: front, containers: [{name: app, image: app}]}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec:
  selector: {matchLabels: {app: reviews}}
  rules:
  - {from: [{source: {principals: [cluster.local/ns/shop/sa/front]}}], to: [{operation: {methods: [GET], paths: ["/api/*"]}}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: secret, namespace: shop}
spec:
  action: DENY
  rules:
  - {to: [{operation: {paths: ["/api/secret*"]}}], when: [{key: "request.headers[x-admin]", notValues: ["yes"]}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
`

// What `weft authz explain` prints of files: the rule that decides, and of the
// others what the call does not meet.
func TestAuthzExplain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shop.yaml")
	if err := os.WriteFile(file, []byte(guardedShop), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"web", "reviews", "GET", "/api/books"}, 0, []string{
			"ALLOWED by AuthorizationPolicy shop/readers, spec.rules[0]: a rule allows it\n  from spiffe://cluster.local/ns/shop/sa/front\n  to Deployment shop/reviews, port 8080\n",
			"DENY shop/secret\n  rule 0 does not take it:\n    spec.rules[0].to[0].operation.paths: path is \"/api/books\"\n"}},
		{[]string{"web", "reviews", "POST", "/api/books"}, 3, []string{
			"DENIED: there are policies that allow, and no rule of them takes it", "spec.rules[0].to[0].operation.methods: method is \"POST\""}},
		{[]string{"web", "reviews", "GET", "/api/./secret/x"}, 3, []string{"DENIED by AuthorizationPolicy shop/secret, spec.rules[0]: a rule denies it"}},
		{[]string{"web", "reviews", "GET", "/api/secret", "--header", "X-Admin: yes"}, 0, []string{
			`spec.rules[0].when[0].notValues: request.headers[x-admin] is "yes", which is excepted`}},
		{[]string{"spiffe://cluster.local/ns/other/sa/web", "reviews", "GET", "/api/books"}, 3, []string{
			`spec.rules[0].from[0].source.principals: source.principal is "spiffe://cluster.local/ns/other/sa/web"`}},
		{[]string{"10.1.2.3", "reviews", "GET", "/api/books"}, 3, []string{"DENIED: the port's mTLS mode is STRICT, and the caller has proven no identity"}},
		{[]string{"web", "reviews", "TCP"}, 3, []string{"spec.rules[0].to[0].operation.methods: method is asked of requests only", "DENIED by AuthorizationPolicy shop/secret"}},
		{[]string{"web", "reviews", "GET", "/api/books", "-o", "json"}, 0, []string{`"allowed": true`, `"policy": "shop/readers"`}},
		{[]string{"web", "nobody", "GET", "/"}, 1, nil},
		{[]string{"web", "reviews", "GET", "/", "--jwt", "a.b"}, 1, nil},
		{[]string{"web", "reviews", "GET", "/", "--header", "none"}, 2, nil},
	} {
		code, out, said := run(t, append([]string{"authz", "explain", "-n", "shop", "-f", file}, c.args...)...)
		if code != c.code {
			t.Errorf("%v: exit code %d\n%s%s", c.args, code, out, said)
		}
		for _, text := range c.want {
			if !strings.Contains(out, text) {
				t.Errorf("%v: no %q in\n%s%s", c.args, text, out, said)
			}
		}
	}
}
