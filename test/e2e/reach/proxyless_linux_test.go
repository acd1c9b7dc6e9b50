package reach

import (
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// proxyless are gRPC servers and a client whose pods have no Envoy: plain grpc-go
// programs, of another user than the agent beside them.
const proxyless = `
apiVersion: v1
kind: Namespace
metadata: {name: stars, labels: {istio-injection: enabled}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: stars}
spec: {mtls: {mode: STRICT}}
---
apiVersion: v1
kind: Service
metadata: {name: stars, namespace: stars}
spec: {selector: {app: stars}, ports: [{name: grpc, port: 9000}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: stars, namespace: stars}
spec:
  host: stars
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: caller, namespace: stars}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: stars}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}, annotations: {inject.istio.io/templates: grpc-agent}}
    spec:
      serviceAccountName: caller
      containers: [{name: app, image: "localhost/weft-test/stars:1", args: [idle]}]
`

// starsServer is the Deployment of one version.
func starsServer(version string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: stars-%[1]s, namespace: stars}
spec:
  selector: {matchLabels: {app: stars, version: %[1]s}}
  template:
    metadata: {labels: {app: stars, version: %[1]s}, annotations: {inject.istio.io/templates: grpc-agent}}
    spec:
      containers: [{name: app, image: "localhost/weft-test/stars:1", args: [serve, --version=%[1]s]}]
---
`, version)
}

// starsRoute sends so many calls of a hundred to v2.
func starsRoute(share int) string {
	return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: stars, namespace: stars}
spec:
  hosts: [stars]
  http: [{route: [{destination: {host: stars, subset: v1}, weight: %d}, {destination: {host: stars, subset: v2}, weight: %d}]}]
`, 100-share, share)
}

// starsRight lets calls with a header in, of the client's account.
const starsRight = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: stars, namespace: stars}
spec:
  selector: {matchLabels: {app: stars}}
  rules: [{from: [{source: {serviceAccounts: [caller]}}], when: [{key: "request.headers[team]", values: [blue]}]}]
`

// called is what the client prints.
type called struct {
	ByVersion, Callers, Errors map[string]int
	Messages                   map[string]string
}

// stars calls the servers from the client's pod.
func (b *bench) stars(args ...string) (out called, err error) {
	command := []string{"-n", "stars", "deploy/client", "-c", "app", "--", "/stars", "call", "--target", "xds:///stars.stars.svc.cluster.local:9000"}
	text, err := b.Printed(append(command, args...)...) // a later --target wins
	if err == nil {
		err = json.Unmarshal([]byte(text), &out)
	}
	return out, err
}

// deployProxyless does not wait.
func (b *bench) deployProxyless() {
	b.Must(proxyless+"---"+starsServer("v1")+starsServer("v2")+starsRoute(10), "apply", "-f", "-")
}

// withoutProxy: mTLS both ways, weights and an edit of them while calls run, and
// rights, where no pod has an Envoy.
func (b *bench) withoutProxy() {
	for _, name := range []string{"client", "stars-v1", "stars-v2"} {
		b.Must("", "-n", "stars", "rollout", "status", "deploy/"+name, "--timeout=90s")
	}
	b.noEnvoy()
	const caller = "spiffe://cluster.local/ns/stars/sa/caller"
	b.Eventually("nine calls of ten at v1, by mutual TLS", func() error {
		got, err := b.stars("--calls", "300")
		if err == nil && (len(got.Errors) > 0 || got.Callers[caller] != 300 || got.ByVersion["v2"] < 5 || got.ByVersion["v2"] > 90) {
			err = fmt.Errorf("%+v", got)
		}
		return err
	})
	b.Eventually("clear text is refused", func() error {
		got, err := b.stars("--calls", "1", "--target", "stars:9000")
		if err == nil && got.Errors["Unavailable"] != 1 {
			err = fmt.Errorf("%+v", got)
		}
		return err
	})
	b.weightEdited()
	b.Must(starsRight, "apply", "-f", "-")
	b.Eventually("calls that the policy does not take are denied", func() error {
		got, err := b.stars("--calls", "5")
		if err == nil && got.Errors["PermissionDenied"] != 5 {
			err = fmt.Errorf("%+v", got)
		}
		return err
	})
	if got, err := b.stars("--calls", "5", "--header", "team=blue"); err != nil || got.Callers[caller] != 5 {
		b.Errorf("calls that the policy takes: %+v, %v", got, err)
	}
}

// noEnvoy: the pods have an agent alone, and no capture.
func (b *bench) noEnvoy() {
	pods, err := b.API.CoreV1().Pods("stars").List(b.Context(), metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range pods.Items {
		for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
			if c.Name == "istio-init" || c.Name == "istio-proxy" && c.Args[1] != "grpc" {
				b.Errorf("pod %s: container %s %v", p.Name, c.Name, c.Args)
			}
		}
	}
}

// weightEdited: a client that is calling follows the edit, and no call fails.
func (b *bench) weightEdited() {
	type result struct {
		called
		err error
	}
	done := make(chan result, 1)
	go func() {
		got, err := b.stars("--calls", "250", "--every", "20ms")
		done <- result{got, err}
	}()
	b.Must(starsRoute(100), "apply", "-f", "-")
	got := <-done
	if got.err != nil || len(got.Errors) > 0 || got.ByVersion["v2"] < 50 {
		b.Errorf("calls during the edit: %+v", got)
	}
	b.Eventually("all calls at v2", func() error {
		got, err := b.stars("--calls", "50")
		if err == nil && got.ByVersion["v2"] != 50 {
			err = fmt.Errorf("%+v", got)
		}
		return err
	})
}
