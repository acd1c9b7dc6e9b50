package traffic

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/samples/bookshop/load"
	"github.com/weftmesh/weft/samples/bookshop/shop"
)

func (b *bench) security() {
	b.part("strict", false, (*bench).strict)
	b.part("another's identity", false, (*bench).anothersIdentity)
}

func identity(namespace, account string) string {
	return "spiffe://cluster.local/ns/" + namespace + "/sa/" + account
}

// forged is what a caller says of itself, which nobody shall believe.
const forged = "X-Forwarded-Client-Cert=By=nobody;URI=spiffe://cluster.local/ns/shop/sa/forged"

// everyHop: each service of the page was called by mTLS, and knows by whom; and
// so does the caller whom it has called.
func (b *bench) everyHop() {
	callers := map[string]string{
		"frontend": identity("weft-system", "istio-ingressgateway"),
		"details":  identity("shop", "frontend"), "reviews": identity("shop", "frontend"), "ratings": identity("shop", "reviews"),
	}
	var page load.Line
	b.Eventually("a page with stars", func() error {
		page = b.door(1, request{path: "/", header: forged})[0]
		if page.Failed() || answerOf(page, "ratings").Pod == "" {
			return fmt.Errorf("%s: no ratings in %+v", page.Status, page.Answer)
		}
		return nil
	})
	for service, caller := range callers {
		peer := answerOf(page, service).Peer
		hop := shop.LastHop(peer)
		if hop.URI != caller || hop.By != identity("shop", service) || strings.Contains(peer, "forged") {
			b.Errorf("%s: was called by %q as %q, want by %s: %s", service, hop.URI, hop.By, caller, peer)
		}
	}
}

// strictDetails is STRICT for a service that the sample leaves PERMISSIVE.
const strictDetails = `{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: details}, spec: {selector: {matchLabels: {app: details}}, mtls: {mode: STRICT}}}`

// strict: a pod without a sidecar is refused where the mode is STRICT and served
// where it is PERMISSIVE; a change of the mode fails no call of the mesh.
func (b *bench) strict() {
	if n, _ := b.plaintext("reviews"); n != 0 {
		b.Errorf("reviews is STRICT and served %d plaintext calls of 10", n)
	}
	b.Eventually("details, which is PERMISSIVE, serves plaintext", func() error { return b.serves("details", 10) })
	steady := b.fromPod("shop", "frontend", "load", "--url", "http://details/", "--requests", "0", "--rps", "50")
	steady.since(time.Now(), 50)
	b.apply("shop", strictDetails)
	applied := time.Now()
	b.Eventually("details refuses plaintext", func() error { return b.serves("details", 0) })
	b.Logf("STRICT held at most %v after kubectl apply", time.Since(applied).Round(time.Millisecond))
	steady.since(time.Now(), 50)
	b.Must(strictDetails, "delete", "-n", "shop", "-f", "-")
	b.Eventually("details serves plaintext again", func() error { return b.serves("details", 10) })
	steady.since(time.Now(), 50)
	lines := steady.stop()
	b.share("calls with the frontend's identity", lines, 1, func(l load.Line) bool {
		return shop.LastHop(l.Answer.Peer).URI == identity("shop", "frontend")
	})
}

// plaintext calls a service ten times from a pod without a sidecar; it tells how
// many were served and as whose the last one was taken.
func (b *bench) plaintext(service string) (served int, peer string) {
	b.Helper()
	lines := b.fromPod("shop", "legacy", "load", "--url", "http://"+service+"/", "--requests", "10", "--timeout", "3s", "--header", forged).wait()
	for _, l := range lines {
		if l.Status == "200" {
			served, peer = served+1, l.Answer.Peer
		}
	}
	return served, peer
}

// serves: of ten plaintext calls so many are served, as from nobody.
func (b *bench) serves(service string, want int) error {
	n, peer := b.plaintext(service)
	if peer != "" {
		b.Errorf("%s took a plaintext call as from %q", service, peer)
	}
	if n != want {
		return fmt.Errorf("%d of 10 are served", n)
	}
	return nil
}

// honest is a pod of account legacy, whom only its sidecar makes Ready. Its
// certificates hold for longer than those of the others.
const honest = `
apiVersion: v1
kind: Pod
metadata:
  name: honest
  namespace: shop
  labels: {app: claims}
  annotations: {proxy.istio.io/config: "proxyMetadata: {SECRET_TTL: 1h}"}
spec:
  serviceAccountName: legacy
  terminationGracePeriodSeconds: 1
  containers:
  - {name: app, image: "localhost/weft/bookshop:dev", args: [idle]}
`

// anothersIdentity: a pod gets the certificate of its own service account and no
// other, whatever its proxy asks for.
func (b *bench) anothersIdentity() {
	wish := b.replaced(honest, "SECRET_TTL: 1h", "SERVICE_ACCOUNT: reviews")
	if _, err := b.Kubectl(wish, "apply", "-f", "-"); err == nil || !strings.Contains(err.Error(), "proxyMetadata.SERVICE_ACCOUNT") {
		b.Errorf("a pod that asks the injector for another account: %v", err)
	}
	refused := b.refused()
	var pod corev1.Pod
	if err := yaml.Unmarshal([]byte(b.MustWeft(honest, "inject", "-f", "-")), &pod); err != nil {
		b.Fatal(err)
	}
	pod.Labels["sidecar.istio.io/inject"] = "false" // it is made as it is
	b.create(pod)
	pod.Name = "liar"
	b.create(claiming(pod, "reviews"))
	b.Eventually("the honest one is Ready", func() error {
		p, err := b.API.CoreV1().Pods("shop").Get(b.Context(), "honest", metav1.GetOptions{})
		if err == nil && !isReady(p) {
			err = errors.New("not yet")
		}
		return err
	})
	if until, err := time.Parse(time.RFC3339, b.validUntil("shop", "honest")); err != nil || time.Until(until) < 50*time.Minute {
		b.Errorf("its certificate holds until %v, want an hour from now: %v", until, err)
	}
	b.Eventually("the other one is told why not", func() error {
		log, err := b.Kubectl("", "logs", "-n", "shop", "liar", "-c", "istio-proxy")
		if err == nil && !strings.Contains(log, identity("shop", "reviews")) {
			err = errors.New("its log has no refusal:\n" + log)
		}
		return err
	})
	b.Eventually("the CA counts it", func() error {
		if now := b.refused(); now <= refused {
			return fmt.Errorf("%d refusals, before it %d", now, refused)
		}
		return nil
	})
	p, err := b.API.CoreV1().Pods("shop").Get(b.Context(), "liar", metav1.GetOptions{})
	if err != nil || isReady(p) {
		b.Errorf("the liar is Ready, %v", err)
	}
	log := b.Must("", "logs", "-n", "shop", "liar", "-c", "istio-proxy")
	if strings.Contains(log, "certificate issued") {
		b.Errorf("the liar has a certificate:\n%s", log)
	}
	b.Must("", "delete", "pod", "-n", "shop", "honest", "liar", "--wait=false")
}

func (b *bench) create(pod corev1.Pod) {
	b.Helper()
	if _, err := b.API.CoreV1().Pods("shop").Create(b.Context(), &pod, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
}

// claiming is the pod whose proxy says that it is of another account.
func claiming(pod corev1.Pod, account string) corev1.Pod {
	pod = *pod.DeepCopy()
	for i := range pod.Spec.InitContainers {
		for j, e := range pod.Spec.InitContainers[i].Env {
			if e.Name == "SERVICE_ACCOUNT" {
				pod.Spec.InitContainers[i].Env[j] = corev1.EnvVar{Name: e.Name, Value: account}
			}
		}
	}
	return pod
}

// refused is how many requests the CA has refused because they name somebody
// else.
func (b *bench) refused() (n int) {
	b.Helper()
	for _, pod := range names(b.pods("weft-system", "app=weft-ca")) {
		text := b.Must("", "get", "--raw", "/api/v1/namespaces/weft-system/pods/"+pod+":15014/proxy/metrics")
		for line := range strings.Lines(text) {
			var one float64
			if _, err := fmt.Sscanf(line, `weft_ca_refused_total{reason="csr_name"} %g`, &one); err == nil {
				n += int(one)
			}
		}
	}
	return n
}
