// Package lifecycle tests on a real cluster that pods come and go unseen: apps
// and gateways are rolled out under load, the mesh's own components too, pods
// are deleted, and a node dies.
package lifecycle

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/test/e2e/steady"
)

func TestLifecycle(t *testing.T) {
	b := &bench{Bench: steady.NewBench(t)}
	b.Must(file(t, "shop.yaml"), "apply", "-f", "-")
	b.Must(file(t, "pair.yaml"), "apply", "-f", "-")
	b.port = b.NodePort("http2")
	b.Ready("shop/frontend", "shop/reviews", "shop/ratings", "shop/echo", "shop/pair-1", "shop/pair-2")
	b.start()
	for _, part := range []struct {
		name string
		run  func(*bench)
	}{
		{"rolling restarts", (*bench).restarts},
		{"control plane", (*bench).controlPlane},
		{"deleted pod", (*bench).deletedPod},
		{"node killed", (*bench).nodeKilled},
	} {
		t.Run(part.name, func(t *testing.T) {
			on := *b
			on.Bench = b.On(t)
			part.run(&on)
		})
	}
}

// bench is the cluster with its load.
type bench struct {
	*steady.Bench
	lan, pod *steady.Load
	port     string // the gateway's, of each node
}

func file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// url is that of a path at the gateway, through a node.
func (b *bench) url(n int, path string) string {
	return fmt.Sprintf("http://%s:%s%s", b.Node(n).Address(), b.port, path)
}

// start lets users ask through both nodes, in all the ways in which clients use
// connections, and a pod ask others.
func (b *bench) start() {
	b.Helper()
	url, every := b.url, func(d time.Duration) steady.Duration { return steady.Duration(d) }
	b.lan = b.FromLAN(
		steady.Target{Name: "page, kept connections, node1", URL: url(1, "/"), Connection: steady.Keep, Clients: 2, Every: every(200 * time.Millisecond)},
		steady.Target{Name: "page, kept connections, node2", URL: url(2, "/"), Connection: steady.Keep, Clients: 2, Every: every(200 * time.Millisecond)},
		steady.Target{Name: "page, new connections, node1", URL: url(1, "/"), Connection: steady.New, Clients: 1, Every: every(200 * time.Millisecond)},
		steady.Target{Name: "page, new connections, node2", URL: url(2, "/"), Connection: steady.New, Clients: 1, Every: every(200 * time.Millisecond)},
		steady.Target{Name: "page, HTTP/2, node1", URL: url(1, "/"), Connection: steady.HTTP2, Clients: 1, Every: every(200 * time.Millisecond)},
		steady.Target{Name: "echo, now and then, node1", URL: url(1, "/echo"), Connection: steady.Keep, Clients: 6, Every: every(3 * time.Second)},
		steady.Target{Name: "echo, now and then, node2", URL: url(2, "/echo"), Connection: steady.Keep, Clients: 6, Every: every(3 * time.Second)},
	)
	b.pod = b.InPod("caller",
		steady.Target{Name: "echo, kept connections", URL: "http://echo/", Connection: steady.Keep, Clients: 2, Every: every(100 * time.Millisecond)},
		steady.Target{Name: "echo, new connections", URL: "http://echo/", Connection: steady.New, Clients: 1, Every: every(100 * time.Millisecond)},
		steady.Target{Name: "reviews, kept connections", URL: "http://reviews/", Connection: steady.Keep, Clients: 2, Every: every(200 * time.Millisecond)},
	)
	b.Flows(b.lan)
	b.Flows(b.pod)
}

// rounds of restarts of five deployments make twenty.
const rounds = 4

// restarts: servers, clients and the gateway are rolled out, all at once, time
// and again; nobody who asks sees it.
func (b *bench) restarts() {
	from := time.Now()
	apps := []string{"frontend", "reviews", "ratings", "echo"}
	for n := range rounds {
		began := time.Now()
		b.Must("", append([]string{"-n", "shop", "rollout", "restart"}, prefixed("deployment/", apps)...)...)
		b.Must("", "-n", "weft-system", "rollout", "restart", "deployment/istio-ingressgateway")
		for _, app := range apps {
			b.Ready("shop/" + app)
		}
		b.Ready("weft-system/istio-ingressgateway")
		b.Logf("round %d: five deployments restarted in %v", n+1, time.Since(began).Round(time.Millisecond))
	}
	b.settled()
	b.Clean(b.lan, from, "restarts")
	b.Clean(b.pod, from, "restarts")
}

func prefixed(prefix string, names []string) (out []string) {
	for _, name := range names {
		out = append(out, prefix+name)
	}
	return out
}

// settled waits until no pod ends any more.
func (b *bench) settled() {
	b.Helper()
	b.Eventually("pods have ended", func() error {
		list, err := b.API.CoreV1().Pods("").List(b.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil }); i >= 0 {
			return fmt.Errorf("%s has not", list.Items[i].Name)
		}
		return nil
	})
}

// controlPlane: pilot, CA and injector are rolled out; no request is disturbed,
// and every proxy finds its way to the new ones.
func (b *bench) controlPlane() {
	from := time.Now()
	b.Must("", "-n", "weft-system", "rollout", "restart", "deployment/weft-pilot", "deployment/weft-ca", "deployment/weft-injector")
	b.Ready("weft-system/weft-pilot", "weft-system/weft-ca", "weft-system/weft-injector")
	b.settled()
	b.InSync("caller.shop", "istio-ingressgateway")
	b.Clean(b.lan, from, "roll-out of the control plane")
	b.Clean(b.pod, from, "roll-out of the control plane")
}
