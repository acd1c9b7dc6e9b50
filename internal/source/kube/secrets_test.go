package kube_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/source"
	"github.com/weftmesh/weft/internal/source/kube"
)

func kubeOptions(c *rest.Config) kube.Options { return kube.Options{Config: c} }

// rights are those of the comment table in rbac.go, for a user "pilot".
const rights = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: weft-pilot-test}
rules:
- {apiGroups: [""], resources: [services, pods, namespaces, nodes], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- apiGroups: [networking.istio.io]
  resources: [virtualservices, destinationrules, gateways, serviceentries, sidecars, workloadentries, workloadgroups, envoyfilters, proxyconfigs]
  verbs: [list, watch]
- {apiGroups: [security.istio.io], resources: [peerauthentications, requestauthentications, authorizationpolicies], verbs: [list, watch]}
- {apiGroups: [telemetry.istio.io], resources: [telemetries], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: weft-pilot-test}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: weft-pilot-test}
subjects: [{kind: User, name: pilot}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: weft-pilot-test, namespace: weft-system}
rules:
- {apiGroups: [""], resources: [configmaps], resourceNames: [istio], verbs: [list, watch]}
- {apiGroups: [""], resources: [secrets], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: weft-pilot-test, namespace: weft-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: weft-pilot-test}
subjects: [{kind: User, name: pilot}]
`

// asPilot gives options with the pilot's rights and no more.
func (s server) asPilot() kube.Options {
	s.add(rights)
	c := s.RESTConfig()
	c.Impersonate = rest.ImpersonationConfig{UserName: "pilot", Groups: []string{"system:authenticated"}}
	return kube.Options{Config: c, Log: slog.New(slog.NewTextHandler(testWriter{s.t}, nil))}
}

func gatewayOf(name, credential, mode string) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: %s, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: %s, credentialName: %s}}]
---
`, name, mode, credential)
}

func secret(ns, name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\nstringData: {tls.crt: %s, tls.key: key, other: hidden}\n---\n", name, ns, value)
}

func gatewayPod(ns string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: edge, namespace: %s, labels: {istio: ingressgateway}}\nspec: {containers: [{name: istio-proxy, image: p}]}\n---\n", ns)
}

func TestOnlyNamedSecretsAreRead(t *testing.T) {
	s := newServer(t)
	s.run(gatewayPod("weft-system"), "weft-system", "edge")
	s.add(gatewayOf("door", "cert", "MUTUAL"))
	s.add(secret("weft-system", "cert", "one") + secret("weft-system", "cert-cacert", "one") + secret("weft-system", "unnamed", "one") + secret("shop", "cert", "one"))
	w := watch(t, s.asPilot())
	st := w.first()
	if got := st.Set.Of(config.Secret).Len(); got != 2 {
		t.Fatalf("%d Secrets in the first state, want those two that the gateway's proxies use", got)
	}
	data := get(st, config.Secret, "weft-system/cert").Spec.(*corev1.Secret).Data
	if string(data["tls.crt"]) != "one" || len(data) != 2 {
		t.Fatalf("of the Secret %d entries are kept", len(data))
	}
	for _, d := range st.Findings {
		t.Errorf("finding: %v", d)
	}
	s.apply(secret("weft-system", "cert", "two"))
	w.await("the rotated certificate", func(st source.State) bool {
		return string(get(st, config.Secret, "weft-system/cert").Spec.(*corev1.Secret).Data["tls.crt"]) == "two"
	})
	s.add(gatewayOf("second", "unnamed", "SIMPLE"))
	w.await("the Secret of a new Gateway", has(config.Secret, "weft-system/unnamed"))
	s.remove(gatewayOf("door", "cert", "MUTUAL"))
	w.await("the end of Secrets that nobody names", func(st source.State) bool { return st.Set.Of(config.Secret).Len() == 1 })
	s.remove(secret("weft-system", "unnamed", "one"))
	w.await("the end of a Secret", func(st source.State) bool { return st.Set.Of(config.Secret).Len() == 0 })
}

func TestUnreadableSecretIsAFinding(t *testing.T) {
	s := newServer(t)
	s.run(gatewayPod("other"), "other", "edge")
	s.add(gatewayOf("door", "cert", "SIMPLE") + secret("other", "cert", "one"))
	w := watch(t, s.asPilot())
	st := w.first()
	if !said(st, "WEFT0007", "Secret other/cert") || get(st, config.Secret, "other/cert") != nil {
		t.Fatalf("findings: %v", st.Findings)
	}
	allow := strings.ReplaceAll(rights[strings.Index(rights, "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n"):], "namespace: weft-system", "namespace: other")
	s.add(allow)
	w.await("the Secret once it may be read", func(st source.State) bool {
		return get(st, config.Secret, "other/cert") != nil && len(st.Findings) == 0
	})
}

func TestSecretsFollowTheProxies(t *testing.T) {
	s := newServer(t)
	s.add(gatewayOf("door", "cert", "SIMPLE") + secret("weft-system", "cert", "one") + secret("shop", "cert", "one") + secret("other", "cert", "one"))
	w := watch(t, s.options())
	st := w.first() // no proxy runs: the Gateway's and the system namespace stand for it
	if st.Set.Of(config.Secret).Len() != 2 || get(st, config.Secret, "other/cert") != nil {
		t.Fatalf("%d Secrets", st.Set.Of(config.Secret).Len())
	}
	s.run(gatewayPod("other"), "other", "edge")
	w.await("the Secret where the proxy runs", func(st source.State) bool {
		return st.Set.Of(config.Secret).Len() == 1 && get(st, config.Secret, "other/cert") != nil
	})
	s.bury("other", "edge")
	w.await("where none runs", func(st source.State) bool { return st.Set.Of(config.Secret).Len() == 2 })
}
