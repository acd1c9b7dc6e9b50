package lifecycle

import (
	"errors"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/test/e2e/steady"
)

// nodeKilled: what runs on the other node is asked instead: at once where
// callers watch their servers, else when Kubernetes has noticed. The cluster's
// name server dies with the node, so that nobody finds another pilot by name.
func (b *bench) nodeKilled() {
	every, patience := steady.Duration(200*time.Millisecond), steady.Duration(2*time.Second)
	pod := b.InPod("watcher",
		steady.Target{Name: "by default", URL: "http://pair/", Connection: steady.Keep, Clients: clients, Every: every, Timeout: patience},
		steady.Target{Name: "with outlier detection", URL: "http://pair-watched/", Connection: steady.Keep, Clients: clients, Every: every},
	)
	lan := b.FromLAN(steady.Target{Name: "through the gateway", URL: b.url(1, "/pair"), Connection: steady.New, Clients: clients, Every: every, Timeout: patience})
	b.Must("", "-n", "kube-system", "patch", "deployment", "coredns", "-p", `{"spec": {"template": {"spec": {"nodeName": "node2"}}}}`)
	b.Ready("kube-system/coredns")
	b.Flows(pod)
	b.Flows(lan)
	began := time.Now()
	if err := b.Node(2).Kill(); err != nil {
		b.Fatal(err)
	}
	b.Eventually("Kubernetes notices", func() error { return b.lost("node2") })
	noticed := time.Now()
	b.Logf("Kubernetes calls the node lost after %v", noticed.Sub(began).Round(time.Millisecond))
	b.Flows(pod)
	b.Flows(lan)
	all := b.Since(pod, began)
	maps.Copy(all, b.Since(lan, began))
	late := b.Since(pod, noticed.Add(grace))
	maps.Copy(late, b.Since(lan, noticed.Add(grace)))
	for how, r := range all {
		b.Logf("%s: %d of %d requests failed, slowest %v; after the kill began the last that failed %v, the last over %v %v",
			how, r.Failed, r.Total, r.Slowest.Round(time.Millisecond), since(r.LastFailed, began), steady.Slow, since(r.LastSlow, began))
		// Where the machine stands still, the one request of each client may fail.
		if l := late[how]; l.Failed > clients {
			b.Errorf("%s traffic went to the node for %v more after Kubernetes had noticed: %v", how, l.LastFailed.Sub(noticed), l.Errors)
		}
	}
	if watched := all["with outlier detection"]; watched.Failed > 0 {
		b.Errorf("with outlier detection %d requests failed: %v", watched.Failed, watched.Errors)
	}
}

// clients are those of each target.
const clients = 4

// grace is how long after Kubernetes has noticed traffic may go astray: its
// controllers have to write so, and proxies to be told.
const grace = 10 * time.Second

// since is 0 for what never was.
func since(at, began time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return at.Sub(began).Round(time.Millisecond)
}

// lost gives an error while Kubernetes takes a node for alive.
func (b *bench) lost(name string) error {
	node, err := b.API.CoreV1().Nodes().Get(b.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return nil
		}
	}
	return errors.New("it does not")
}
