// Package reach tests on a real cluster how apps are reached: through a gateway
// by ClusterIP, NodePort and the address of a LoadBalancer, and each pod of a
// StatefulSet by its own name. Its figures are those of
// docs/guides/gateway-traffic-policy.md. It imports install and test/cluster,
// and of the components nothing.
package reach

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/install"
	"github.com/weftmesh/weft/internal/image"
	"github.com/weftmesh/weft/test/cluster"
)

// patience ends a wait that hangs; no test waits for it when all is well.
const patience = 2 * time.Minute

// bench is a cluster of two nodes with Weft installed as a user would.
type bench struct {
	*testing.T
	cluster *cluster.Cluster
	client  *kubernetes.Clientset
	kubectl string
	app     string // path of the test's program on this machine
}

func newBench(t *testing.T) *bench {
	t.Helper()
	cluster.Require(t)
	b := &bench{T: t, kubectl: cluster.Kubectl(t)}
	b.cluster = cluster.New(t, cluster.Options{Nodes: 2, Images: b.images()})
	var err error
	if b.client, err = b.cluster.Clientset(); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) on(t *testing.T) *bench {
	n := *b
	n.T = t
	return &n
}

// images builds those of this tree, tagged "test", and that of the app.
func (b *bench) images() []string {
	b.Helper()
	bin, archives := cluster.Images(b, "test", "./test/e2e/reach/app")
	b.app = bin + "/app"
	archive := b.TempDir() + "/app.tar"
	app := image.Image{
		Names: []string{"localhost/weft-test/app:1"}, Files: map[string]string{"/app": b.app},
		Entrypoint: []string{"/app"}, Command: []string{"serve"}, User: "65532:65532",
	}
	if err := app.Write(archive); err != nil {
		b.Fatal(err)
	}
	return append(archives, archive)
}

// install is `weft install --set ...`, or the change of what is installed.
func (b *bench) install(sets ...string) { b.Helper(); b.installWith("", sets...) }

// installWith is `weft install -f - --set ...`.
func (b *bench) installWith(file string, sets ...string) {
	b.Helper()
	one := []string{"tag=test", "pilot.replicas=1", "ca.replicas=1", "injector.replicas=1"}
	values, err := install.Inputs{Files: []string{"-"}, Stdin: strings.NewReader(file), Sets: append(one, sets...)}.Values()
	if err != nil {
		b.Fatal(err)
	}
	manifest, err := install.Render(install.Release{Version: "test", Values: values})
	if err != nil {
		b.Fatal(err)
	}
	to, err := install.NewCluster(b.cluster.RESTConfig())
	if err == nil {
		_, err = to.Install(b.Context(), manifest, install.Options{Wait: patience, Say: b.Logf})
	}
	if err != nil {
		b.Fatal(err)
	}
}

// run calls kubectl; input is what it reads.
func (b *bench) run(input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	return b.cluster.Ask(ctx, b.kubectl, input, args...)
}

func (b *bench) must(input string, args ...string) string {
	b.Helper()
	out, err := b.run(input, args...)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// eventually waits for check to give no error.
func (b *bench) eventually(what string, check func() error) {
	b.Helper()
	cluster.Eventually(b, patience, what, check)
}

// gateways are the addresses of the gateway's ready pods by node. Pods that end
// are waited for.
func (b *bench) gateways(want int) map[string][]string {
	b.Helper()
	var out map[string][]string
	b.eventually(fmt.Sprintf("%d gateway pods", want), func() error {
		list, err := b.client.CoreV1().Pods("weft-system").List(b.Context(), metav1.ListOptions{LabelSelector: "istio=ingressgateway"})
		if err != nil {
			return err
		}
		out = map[string][]string{}
		ready := 0
		for _, p := range list.Items {
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
					ready++
				}
			}
			out[p.Spec.NodeName] = append(out[p.Spec.NodeName], p.Status.PodIP)
		}
		if ready != want || len(list.Items) != want {
			return fmt.Errorf("%d pods, %d ready", len(list.Items), ready)
		}
		return nil
	})
	return out
}

// service is the gateway's.
func (b *bench) service() *corev1.Service {
	b.Helper()
	s, err := b.client.CoreV1().Services("weft-system").Get(b.Context(), "istio-ingressgateway", metav1.GetOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// seen and spread are what the app's subcommands print.
type seen struct {
	Pod, Remote string
	Headers     map[string][]string
}

type spread struct {
	Failed           int
	Error            string
	Remotes, Clients map[string]int
}

// get sends one request from the LAN.
func (b *bench) get(url string, headers ...string) (out seen, err error) {
	text, err := b.cluster.Client(b.Context(), append([]string{b.app, "get", url}, headers...)...)
	if err == nil {
		err = json.Unmarshal([]byte(text), &out)
	}
	return out, err
}

// requests is how many a share is measured with: five sigma of a third are 6
// points of a hundred.
const requests = 1500

// spread sends requests from the LAN, each on a connection of its own, to each
// URL in turn.
func (b *bench) spread(urls ...string) (out spread) {
	b.Helper()
	text, err := b.cluster.Client(b.Context(), append([]string{b.app, "spread", fmt.Sprint(requests)}, urls...)...)
	if err == nil {
		err = json.Unmarshal([]byte(text), &out)
	}
	if err != nil {
		b.Fatal(err)
	}
	if out.Failed > 0 {
		b.Errorf("%d of %d requests failed, the last one: %s", out.Failed, requests, out.Error)
	}
	b.Logf("gateways %v, clients %v", out.Remotes, out.Clients)
	return out
}

// within holds each pod's count to its share by five sigma of a binomial
// distribution: by chance it fails once in 1.7 million times.
func (b *bench) within(got map[string]int, shares map[string]float64) {
	b.Helper()
	for pod, n := range got {
		if shares[pod] == 0 {
			b.Errorf("%s had %d of %d, want none", pod, n, requests)
		}
	}
	for pod, p := range shares {
		if off := math.Abs(float64(got[pod]) - p*requests); off > 5*math.Sqrt(requests*p*(1-p)) {
			b.Errorf("%s had %.1f %% of %d, want %.1f", pod, float64(got[pod])*100/requests, requests, p*100)
		}
	}
}
