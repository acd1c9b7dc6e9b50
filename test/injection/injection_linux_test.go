// Package injection tests what a user of a cluster sees of the injector: pods
// get a proxy, calls between them are mTLS, probes work under STRICT, and an
// injector that is away stops nothing that runs.
package injection

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const strict = `{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default, namespace: shop}, spec: {mtls: {mode: STRICT}}}`

func TestInjection(t *testing.T) {
	m := newMesh(t)
	m.Must(file(t, "shop.yaml"), "apply", "-f", "-")
	m.ready("details", "ratings", "frontend", "classic", "legacy")
	t.Run("identities", func(t *testing.T) { m.on(t).identities() })
	t.Run("confined", func(t *testing.T) { m.on(t).confined() })
	t.Run("strict", func(t *testing.T) { m.on(t).strict() })
	t.Run("a job ends", func(t *testing.T) { m.on(t).jobEnds() })
	t.Run("wrong annotation", func(t *testing.T) { m.on(t).wrongAnnotation() })
	t.Run("injector away", func(t *testing.T) { m.on(t).injectorAway() })
	t.Run("caBundle repaired", func(t *testing.T) { m.on(t).bundleRepaired() })
	t.Run("configuration reloaded", func(t *testing.T) { m.on(t).configurationReloaded() })
}

func (m *mesh) on(t *testing.T) *mesh {
	n := *m
	n.T = t
	return &n
}

func file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// identities: each call is mTLS, and each side knows who the other is.
func (m *mesh) identities() {
	for _, from := range []string{"frontend", "classic"} {
		for _, url := range []string{"http://details/", "http://details.shop.svc.cluster.local/"} {
			m.Eventually(from+" calls "+url, func() error { return m.sees(from, url, "URI=spiffe://cluster.local/ns/shop/sa/frontend") })
		}
	}
	m.Eventually("a caller without a sidecar is served, without an identity", func() error {
		out, err := m.get("legacy", "http://details.shop/")
		if err == nil && strings.Contains(out, "spiffe") {
			return fmt.Errorf("it has an identity: %s", out)
		}
		return err
	})
}

func (m *mesh) sees(from, url, want string) error {
	out, err := m.get(from, url)
	if err == nil && !strings.Contains(out, want) {
		return fmt.Errorf("no %s in %s", want, out)
	}
	return err
}

// confined: nothing in an injected pod may do more than it must.
func (m *mesh) confined() {
	list, err := m.API.CoreV1().Pods("shop").List(m.Context(), metav1.ListOptions{LabelSelector: "security.istio.io/tlsMode=istio"})
	if err != nil || len(list.Items) != 4 {
		m.Fatalf("%d injected pods, %v", len(list.Items), err)
	}
	for _, pod := range list.Items {
		classic := pod.Labels["app"] == "classic"
		for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
			s := c.SecurityContext
			switch c.Name {
			case "istio-init":
				if len(s.Capabilities.Add) != 1 || s.Capabilities.Add[0] != "NET_ADMIN" || !*s.ReadOnlyRootFilesystem {
					m.Errorf("%s: istio-init may %+v", pod.Name, s)
				}
			case "istio-proxy":
				if *s.RunAsUser != 1337 || len(s.Capabilities.Add) != 0 || !*s.ReadOnlyRootFilesystem {
					m.Errorf("%s: istio-proxy may %+v", pod.Name, s)
				}
				if native := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways; native == classic {
					m.Errorf("%s: a native sidecar: %t", pod.Name, native)
				}
			}
		}
	}
}

// strict: the kubelet's probes work, a caller without a certificate does not.
func (m *mesh) strict() {
	m.Must(strict, "apply", "-f", "-")
	m.Eventually("a caller without a sidecar is refused", func() error {
		if out, err := m.get("legacy", "http://details.shop/"); err == nil {
			return fmt.Errorf("it was answered %s", out)
		}
		return nil
	})
	m.Eventually("one with a sidecar is served", func() error { return m.sees("frontend", "http://details/", "sa/frontend") })
	m.Must("", "-n", "shop", "rollout", "restart", "deploy/details", "deploy/ratings")
	m.Must("", "-n", "shop", "rollout", "status", "deploy/details", "--timeout=90s")
	m.Must("", "-n", "shop", "rollout", "status", "deploy/ratings", "--timeout=90s")
	m.Eventually("new pods are served", func() error { return m.sees("classic", "http://details/", "sa/frontend") })
	m.Eventually("no pod is restarted by its probes", func() error {
		list, err := m.API.CoreV1().Pods("shop").List(m.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, pod := range list.Items {
			for _, s := range append(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses...) {
				if s.RestartCount > 0 {
					m.Fatalf("%s/%s was restarted: %+v", pod.Name, s.Name, s.LastTerminationState)
				}
			}
		}
		return nil
	})
}

// jobEnds: the proxy ends with its app.
func (m *mesh) jobEnds() {
	m.Must(file(m.T, "job.yaml"), "apply", "-f", "-")
	m.Must("", "-n", "shop", "wait", "--for=condition=complete", "job/once", "--timeout=90s")
}

const wrong = `{apiVersion: v1, kind: Pod, metadata: {name: wrong, namespace: shop, annotations: {traffic.sidecar.istio.io/excludeInboundPorts: "http"}},
 spec: {containers: [{name: a, image: "localhost/weft/bookshop:v0.0.0-e2e"}]}}`

// wrongAnnotation: the user is told which, and what to write.
func (m *mesh) wrongAnnotation() {
	_, err := m.Kubectl(wrong, "apply", "-f", "-")
	if err == nil || !strings.Contains(err.Error(), "excludeInboundPorts") || !strings.Contains(err.Error(), "want ports of 1 to 65535") {
		m.Errorf("a wrong annotation: %v", err)
	}
}

// injectorAway: what runs is untouched, pods of the mesh are refused with a
// reason, all others start, and so does the injector itself.
func (m *mesh) injectorAway() {
	m.Must("", "-n", "weft-system", "scale", "deploy/weft-injector", "--replicas=0")
	m.Must("", "-n", "weft-system", "wait", "--for=delete", "pod", "-l", "app=weft-injector", "--timeout=90s")
	if err := m.sees("frontend", "http://details/", "sa/frontend"); err != nil {
		m.Errorf("traffic that runs: %v", err)
	}
	const pod = `{apiVersion: v1, kind: Pod, metadata: {name: late, namespace: %s}, spec: {containers: [{name: a, image: "localhost/weft/bookshop:v0.0.0-e2e", args: [idle]}]}}`
	_, err := m.Kubectl(fmt.Sprintf(pod, "shop"), "apply", "-f", "-")
	if err == nil || !strings.Contains(err.Error(), "weft") {
		m.Errorf("a pod of the mesh: %v", err)
	}
	m.Must(fmt.Sprintf(pod, "default"), "apply", "-f", "-")
	m.Must("", "-n", "kube-system", "rollout", "restart", "deploy/coredns")
	m.Must("", "-n", "kube-system", "rollout", "status", "deploy/coredns", "--timeout=90s")
	m.Must("", "-n", "weft-system", "scale", "deploy/weft-injector", "--replicas=1")
	m.Must("", "-n", "weft-system", "rollout", "status", "deploy/weft-injector", "--timeout=90s")
	m.Eventually("pods of the mesh start again", func() error {
		_, err := m.Kubectl(fmt.Sprintf(pod, "shop"), "apply", "-f", "-")
		return err
	})
}

// bundleRepaired: what somebody breaks of the webhook is put right.
func (m *mesh) bundleRepaired() {
	webhooks := m.API.AdmissionregistrationV1().MutatingWebhookConfigurations()
	const name = "weft-sidecar-injector"
	patch := []byte(`[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]`)
	if _, err := webhooks.Patch(m.Context(), name, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		m.Fatal(err)
	}
	m.Eventually("caBundle is there again", func() error {
		c, err := webhooks.Get(m.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		roots, err := m.API.CoreV1().ConfigMaps("weft-system").Get(m.Context(), "istio-ca-root-cert", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !bytes.Equal(c.Webhooks[0].ClientConfig.CABundle, []byte(roots.Data["root-cert.pem"])) {
			return errors.New("it is not")
		}
		return nil
	})
}

// configurationReloaded: a change of the ConfigMap is in force without a
// restart, and one that cannot be used changes nothing.
func (m *mesh) configurationReloaded() {
	set := func(config string) {
		patch := fmt.Sprintf(`{"data": {"config": %q}}`, config)
		m.Must("", "-n", "weft-system", "patch", "configmap", "istio-sidecar-injector", "--type=merge", "-p", patch)
	}
	const pod = `{apiVersion: v1, kind: Pod, metadata: {name: x, namespace: shop}, spec: {containers: [{name: a, image: "localhost/weft/bookshop:v0.0.0-e2e", args: [idle]}]}}`
	annotated := func() error {
		out, err := m.Kubectl(pod, "create", "--dry-run=server", "-o", "yaml", "-f", "-")
		if err == nil && !strings.Contains(out, "example.org/by: test") {
			return errors.New("the annotation is not there")
		}
		return err
	}
	set("injectedAnnotations: {example.org/by: test}")
	m.Eventually("the new configuration is in force", annotated)
	set("policy: sometimes")
	if err := annotated(); err != nil {
		m.Errorf("after a bad configuration: %v", err)
	}
}
