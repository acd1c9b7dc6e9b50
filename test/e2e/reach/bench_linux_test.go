// Package reach tests on a real cluster how apps are reached: through a gateway
// by ClusterIP, NodePort and the address of a LoadBalancer, each pod of a
// StatefulSet by its own name, and gRPC servers without a proxy. Its figures are those of
// docs/guides/gateway-traffic-policy.md. It imports install and test/cluster,
// and of the components nothing.
package reach

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/test/e2e/rig"
)

// bench is a cluster whose apps say who they are and how they were reached.
type bench struct {
	*rig.Rig
	app string // path of the test's program on this machine
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{Rig: rig.New(t, rig.Program{Package: "./test/e2e/reach/app", Args: []string{"serve"}}, rig.Program{Package: "./samples/grpc-proxyless/cmd/stars", Args: []string{"idle"}})}
	b.app = filepath.Join(b.Bin, "app")
	return b
}

func (b *bench) on(t *testing.T) *bench { return &bench{b.On(t), b.app} }

// install is a lean one with further values, or the change of what is installed.
func (b *bench) install(sets ...string) { b.Helper(); b.installWith("", sets...) }

// installWith is install with a file of values.
func (b *bench) installWith(file string, sets ...string) {
	b.Helper()
	b.Install(file, append(rig.Lean[:len(rig.Lean):len(rig.Lean)], sets...)...)
}

// gateways are the addresses of the gateway's ready pods by node. Pods that end
// are waited for.
func (b *bench) gateways(want int) map[string][]string {
	b.Helper()
	var out map[string][]string
	b.Eventually(fmt.Sprintf("%d gateway pods", want), func() error {
		list, err := b.API.CoreV1().Pods("weft-system").List(b.Context(), metav1.ListOptions{LabelSelector: "istio=ingressgateway"})
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
	s, err := b.API.CoreV1().Services("weft-system").Get(b.Context(), "istio-ingressgateway", metav1.GetOptions{})
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
	text, err := b.Client(b.Context(), append([]string{b.app, "get", url}, headers...)...)
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
	text, err := b.Client(b.Context(), append([]string{b.app, "spread", fmt.Sprint(requests)}, urls...)...)
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
