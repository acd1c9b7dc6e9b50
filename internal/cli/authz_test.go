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

// guardedGateway is a gateway with a door for whom everybody knows, one for proven
// identities and one that passes on, all with a policy that denies everything.
const guardedGateway = `
---
apiVersion: v1
kind: Service
metadata: {name: gw, namespace: shop}
spec: {selector: {istio: gw}, ports: [{name: http, port: 80, targetPort: 8080}, {name: mtls, port: 9443}, {name: tls, port: 15443}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: gw, namespace: shop}
spec: {selector: {matchLabels: {istio: gw}}, template: {metadata: {labels: {istio: gw}, annotations: {inject.istio.io/templates: gateway}}, spec: {containers: [{name: istio-proxy, image: auto}]}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec:
  selector: {istio: gw}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 9443, name: mtls, protocol: HTTPS}, hosts: ["*"], tls: {mode: ISTIO_MUTUAL}}
  - {port: {number: 15443, name: tls, protocol: TLS}, hosts: ["*.local"], tls: {mode: AUTO_PASSTHROUGH}}
  - {port: {number: 9443, name: plain, protocol: HTTPS}, hosts: [plain.example], tls: {mode: SIMPLE, credentialName: gw}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: doors, namespace: shop}
spec:
  selector: {matchLabels: {istio: gw}}
  action: DENY
  rules: [{from: [{source: {notPrincipals: [cluster.local/ns/shop/sa/front]}}], to: [{operation: {notPaths: ["/open*"]}}]}]
`

// guardedGatewayPod is a pod of it as the injector leaves it: it is marked as
// injected, and has not the label of a sidecar's mutual TLS.
const guardedGatewayPod = `
---
apiVersion: v1
kind: Pod
metadata: {name: gw-1, namespace: shop, labels: {istio: gw}, annotations: {sidecar.istio.io/status: "{}"}}
spec: {containers: [{name: istio-proxy, image: envoy}]}
status: {phase: Running, podIP: 10.1.9.9}
`

// What is not decided by policies alone: EnvoyFilters that touch what asks them,
// and gateways, where no PeerAuthentication holds and most servers know nobody.
func TestAuthzExplainDoesNotVouch(t *testing.T) {
	edit := func(applyTo, context, match, patch string) string {
		return `
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: edit, namespace: shop}
spec: {workloadSelector: {labels: {app: reviews}}, configPatches: [{applyTo: ` + applyTo + `, match: {context: ` + context + match + `}, patch: ` + patch + `}]}
`
	}
	sub := func(name string) string {
		return `, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: ` + name + `}}}}`
	}
	const in, rbac, router = "SIDECAR_INBOUND", "envoy.filters.http.rbac", "envoy.filters.http.router"
	const lua = `{operation: INSERT_BEFORE, value: {name: lua, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}}`
	const doubt = "NOT VOUCHED FOR: by its policies alone ALLOWED by AuthorizationPolicy shop/readers"
	readers := []string{"web", "reviews", "GET", "/api/books"}
	for name, c := range map[string]struct {
		more string
		args []string
		code int
		want string
	}{
		"rbac is removed":        {edit("HTTP_FILTER", in, sub(rbac), "{operation: REMOVE}"), readers, 1, "but EnvoyFilter shop/edit, spec.configPatches[0]: REMOVE of HTTP_FILTER " + rbac},
		"a denied one, too":      {edit("HTTP_FILTER", "ANY", sub(rbac), "{operation: REMOVE}"), []string{"web", "reviews", "POST", "/api/books"}, 1, "NOT VOUCHED FOR: by its policies alone DENIED"},
		"rbac of bytes":          {edit("NETWORK_FILTER", in, `, listener: {filterChain: {filter: {name: envoy.filters.network.rbac}}}`, "{operation: REMOVE}"), readers, 1, doubt},
		"tokens are not checked": {edit("HTTP_FILTER", in, sub("envoy.filters.http.jwt_authn"), "{operation: MERGE, value: {typed_config: {bypass_cors_preflight: true}}}"), readers, 1, doubt},
		"before rbac":            {edit("HTTP_FILTER", in, sub(rbac), lua), readers, 1, "INSERT_BEFORE of HTTP_FILTER"},
		"first of all":           {edit("HTTP_FILTER", in, sub(router), strings.Replace(lua, "INSERT_BEFORE", "INSERT_FIRST", 1)), readers, 1, doubt},
		"a chain is removed":     {edit("FILTER_CHAIN", in, "", "{operation: REMOVE}"), readers, 1, doubt},
		"a listener is merged":   {edit("LISTENER", in, "", "{operation: MERGE, value: {connection_balance_config: {exact_balance: {}}}}"), readers, 1, "MERGE of LISTENER"},
		"paths are normalised otherwise": {edit("NETWORK_FILTER", in, `, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}`,
			`{operation: MERGE, value: {typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, normalize_path: false}}}`), readers, 1, doubt},
		"switched off by route": {edit("HTTP_ROUTE", in, "", `{operation: MERGE, value: {typed_per_filter_config: {envoy.filters.http.rbac: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute}}}}`), readers, 1, doubt},

		"behind rbac":         {edit("HTTP_FILTER", in, sub(router), lua), readers, 0, "ALLOWED by AuthorizationPolicy shop/readers"},
		"another side":        {edit("HTTP_FILTER", "SIDECAR_OUTBOUND", sub(rbac), "{operation: REMOVE}"), readers, 0, "ALLOWED by"},
		"another filter":      {edit("HTTP_FILTER", in, sub("envoy.filters.http.cors"), "{operation: REMOVE}"), readers, 0, "ALLOWED by"},
		"a header by route":   {edit("HTTP_ROUTE", in, "", `{operation: MERGE, value: {request_headers_to_remove: [x]}}`), readers, 0, "ALLOWED by"},
		"clusters":            {edit("CLUSTER", in, "", "{operation: MERGE, value: {connect_timeout: 1s}}"), readers, 0, "ALLOWED by"},
		"of others":           {strings.Replace(edit("LISTENER", in, "", "{operation: REMOVE}"), "app: reviews", "app: ratings", 1), readers, 0, "ALLOWED by"},
		"of the whole mesh":   {strings.NewReplacer("namespace: shop", "namespace: weft-system", "workloadSelector: {labels: {app: reviews}}, ", "").Replace(edit("LISTENER", in, "", "{operation: REMOVE}")), readers, 1, "but EnvoyFilter weft-system/edit"},
		"AUTO_PASSTHROUGH":    {guardedGateway, []string{"web", "gw", "TCP", "--port", "15443"}, 0, "ALLOWED: the gateway passes connections on as they are"},
		"who is not known":    {guardedGateway, []string{"web", "gw", "GET", "/"}, 3, "from spiffe://cluster.local/ns/shop/sa/front, which proves no identity there"},
		"STRICT, of sidecars": {guardedGateway, []string{"10.1.2.3", "gw", "GET", "/open/1"}, 0, "ALLOWED: no policy denies it"},
		"who is proven":       {guardedGateway, []string{"web", "gw", "GET", "/", "--port", "9443", "--host", "a.example"}, 0, "ALLOWED: no policy denies it\n  from spiffe://cluster.local/ns/shop/sa/front\n"},
		"no token is read":    {guardedGateway, []string{"web", "gw", "TCP", "--port", "15443", "--jwt", "h.e30.s"}, 0, "ALLOWED: the gateway passes connections on as they are"},
		"of this host":        {guardedGateway, []string{"web", "gw", "GET", "/", "--port", "9443", "--host", "plain.example"}, 3, "which proves no identity there"},
		"of another host":     {guardedGateway, []string{"web", "gw", "GET", "/", "--port", "9443", "--host", "a.example:9443"}, 0, "ALLOWED: no policy denies it"},
		"which host":          {guardedGateway, []string{"web", "gw", "GET", "/", "--port", "9443"}, 1, "but Gateway shop/gw, spec.servers[3].tls.mode: servers of this port differ"},
		"a mixed port":        {strings.Replace(guardedGateway, "number: 9443", "number: 15443", 1), []string{"web", "gw", "GET", "/", "--port", "15443"}, 1, "but Gateway shop/gw, spec.servers[2].tls.mode: AUTO_PASSTHROUGH"},
		"an edited gateway": {guardedGateway + strings.Replace(edit("HTTP_FILTER", "GATEWAY", sub(rbac), "{operation: REMOVE}"), "app: reviews", "istio: gw", 1),
			[]string{"10.1.2.3", "gw", "GET", "/open/1"}, 1, "NOT VOUCHED FOR: by its policies alone ALLOWED: no policy denies it"},
		"a running gateway": {guardedGateway + guardedGatewayPod, []string{"web", "gw-1", "GET", "/"}, 3, "from spiffe://cluster.local/ns/shop/sa/front, which proves no identity there"},
		"its passing on":    {guardedGateway + guardedGatewayPod, []string{"web", "gw-1", "TCP", "--port", "15443"}, 0, "ALLOWED: the gateway passes connections on as they are"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "shop.yaml")
			if err := os.WriteFile(file, []byte(guardedShop+c.more), 0o600); err != nil {
				t.Fatal(err)
			}
			code, out, said := run(t, append([]string{"authz", "explain", "-n", "shop", "-f", file}, c.args...)...)
			if code != c.code || !strings.Contains(out, c.want) {
				t.Errorf("%v: exit code %d, want %d and %q\n%s%s", c.args, code, c.code, c.want, out, said)
			}
		})
	}
}
