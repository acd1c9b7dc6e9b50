package reach

import (
	"encoding/json"
	"fmt"
	"strings"
)

// apps: one that has no sidecar, so that its connections are the gateway pods'
// own and tell them apart; one in the mesh; and one with a name for each pod.
const apps = `
apiVersion: v1
kind: Namespace
metadata: {name: plain}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: plain}
spec: {selector: {app: web}, ports: [{name: http, port: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: plain}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: "localhost/weft-test/app:1"}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: "localhost/weft-test/app:1"}]
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec:
  clusterIP: None
  selector: {app: db}
  ports: [{name: http, port: 8080}, {name: tcp, port: 9000}]
---
apiVersion: v1
kind: Service
metadata: {name: db-any, namespace: shop}
spec:
  selector: {app: db}
  ports: [{name: tcp, port: 9000}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  serviceName: db
  replicas: 3
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: "localhost/weft-test/app:1"}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: db, namespace: shop}
spec: {selector: {matchLabels: {app: db}}, mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door, namespace: plain}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: plain}
spec:
  hosts: ["*"]
  gateways: [door]
  http: [{route: [{destination: {host: web.plain.svc.cluster.local, port: {number: 8080}}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [shop.example.com]
  gateways: [plain/door]
  http: [{route: [{destination: {host: web.shop.svc.cluster.local, port: {number: 8080}}}]}]
`

// names are those of one pod that a client in its namespace may use.
func names(pod string) []string {
	return []string{pod + ".db", pod + ".db.shop", pod + ".db.shop.svc.cluster.local"}
}

// inside runs the app's client in a pod of namespace ns.
func (b *bench) inside(ns string, args ...string) (string, error) {
	return b.Kubectl("", append([]string{"-n", ns, "exec", "deploy/web", "-c", "app", "--", "/app"}, args...)...)
}

// statefulSet: each pod answers by its own name and knows its caller.
func (b *bench) statefulSet() {
	for _, pod := range []string{"db-0", "db-1", "db-2"} {
		for _, name := range names(pod) {
			b.Eventually("HTTP to "+name, func() error {
				text, err := b.inside("shop", "get", "http://"+name+":8080/")
				if err != nil {
					return err
				}
				var got seen
				if err := json.Unmarshal([]byte(text), &got); err != nil {
					return err
				}
				if peer := fmt.Sprint(got.Headers["X-Forwarded-Client-Cert"]); got.Pod != pod || !strings.Contains(peer, "URI=spiffe://cluster.local/ns/shop/sa/default") {
					return fmt.Errorf("%s answered, to %s", got.Pod, peer)
				}
				return nil
			})
		}
	}
	b.Eventually("a caller without a sidecar is refused", func() error {
		if text, err := b.inside("plain", "get", "http://db-0.db.shop.svc.cluster.local:8080/"); err == nil {
			return fmt.Errorf("it was answered %s", text)
		}
		return nil
	})
}

// serverFirst: a client that waits for the server's word gets it at once, from
// the pod that it named or from any of the Service's, over mTLS: STRICT refuses
// it otherwise.
func (b *bench) serverFirst() {
	for _, pod := range []string{"db-0", "db-1", "db-2"} {
		for _, name := range names(pod) {
			b.Eventually("greeting of "+name, func() error { return b.greeted(name, pod) })
		}
	}
	for _, name := range []string{"db", "db-any", "db-any.shop.svc.cluster.local"} {
		b.Eventually("greeting of "+name, func() error { return b.greeted(name, "db-") })
	}
	b.Eventually("a caller without a sidecar is not greeted", func() error {
		if text, err := b.inside("plain", "greet", "db-0.db.shop.svc.cluster.local:9000"); err == nil {
			return fmt.Errorf("it was answered %s", text)
		}
		return nil
	})
}

// greeted: within a second, since nothing may wait for the client's first word
// to find out its protocol.
func (b *bench) greeted(name, by string) error {
	text, err := b.inside("shop", "greet", name+":9000")
	if err != nil {
		return err
	}
	lines := strings.Split(text, "\n")
	if len(lines) < 3 || !strings.HasPrefix(lines[0], "220 "+by) || lines[1] != "250 HELO" {
		return fmt.Errorf("%q", text)
	}
	var waited int
	if _, err := fmt.Sscanf(lines[2], "%d ms", &waited); err != nil || waited > 1000 {
		return fmt.Errorf("the greeting took %s", lines[2])
	}
	return nil
}
