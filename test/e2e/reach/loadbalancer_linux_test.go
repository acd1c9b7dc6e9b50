package reach

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/install"
	"github.com/weftmesh/weft/test/cluster"
)

// lanClient is where the clients are, as the cluster's nodes see it.
const lanClient = "10.89.0.1"

func TestReach(t *testing.T) {
	b := newBench(t)
	b.install("gateways.ingress.replicas=3")
	t.Run("no balancer", func(t *testing.T) { b.on(t).noBalancer() })
	b.Must(apps, "apply", "-f", "-")
	b.deployProxyless()
	b.Must("", "-n", "plain", "rollout", "status", "deploy/web", "--timeout=90s")
	b.Must("", "-n", "shop", "rollout", "status", "deploy/web", "--timeout=90s")
	b.Must("", "-n", "shop", "rollout", "status", "statefulset/db", "--timeout=90s")
	t.Run("statefulset", func(t *testing.T) { b.on(t).statefulSet() })
	t.Run("server first", func(t *testing.T) { b.on(t).serverFirst() })
	t.Run("without a proxy", func(t *testing.T) { b.on(t).withoutProxy() })
	t.Run("NodePort", func(t *testing.T) { b.on(t).nodePort() })
	if err := b.MetalLB(t.Context(), cluster.Pool); err != nil {
		t.Fatal(err)
	}
	t.Run("LoadBalancer", func(t *testing.T) { b.on(t).loadBalancer() })
}

// noBalancer: nobody gives the Service an address; the install has ended, and
// the check says why and what to do.
func (b *bench) noBalancer() {
	to, err := install.NewCluster(b.RESTConfig())
	if err != nil {
		b.Fatal(err)
	}
	found, err := to.Check(b.Context(), "weft-system", "test")
	if err != nil {
		b.Fatal(err)
	}
	said := false
	for _, f := range found {
		if f.Outcome == install.Failed {
			b.Errorf("%+v", f)
		}
		if strings.Contains(f.Text, "has no address") {
			said = true
			if f.Outcome != install.Warning || !strings.Contains(f.Cure, "MetalLB") || !strings.Contains(f.Cure, "gateways.ingress.type=NodePort") {
				b.Errorf("%+v", f)
			}
		}
	}
	if !said {
		b.Errorf("the pending address is not said: %+v", found)
	}
}

// nodePort: a client that takes the two nodes in turn.
func (b *bench) nodePort() {
	for _, policy := range []string{"Cluster", "Local"} {
		b.Run(policy, func(t *testing.T) {
			b := b.on(t)
			b.install("gateways.ingress.replicas=3", "gateways.ingress.type=NodePort", "gateways.ingress.externalTrafficPolicy="+policy)
			pods := b.gateways(3)
			urls := b.nodeURLs()
			b.answers(urls...)
			got := b.spread(urls...)
			if policy == "Cluster" {
				b.within(got.Remotes, thirds(pods))
				b.hidden(got.Clients)
			} else {
				b.within(got.Remotes, perNode(pods))
				b.kept(got.Clients)
				b.throughTheMesh(urls[0])
			}
		})
	}
	b.Run("Local, no pod on one node", func(t *testing.T) {
		b := b.on(t)
		b.install("gateways.ingress.replicas=1", "gateways.ingress.type=NodePort", "gateways.ingress.externalTrafficPolicy=Local")
		pods := b.gateways(1)
		for n, url := range b.nodeURLs() {
			if len(pods[b.Node(n+1).Name()]) > 0 {
				b.answers(url)
			} else {
				b.drops(url)
			}
		}
	})
	b.Run("PROXY protocol", func(t *testing.T) { b.on(t).proxyProtocol() })
}

// proxyProtocol: with Cluster too the app sees the client, where something before
// the gateway says who it is; and what says nothing is not served.
func (b *bench) proxyProtocol() {
	b.installWith("meshConfig: {defaultConfig: {gatewayTopology: {proxyProtocol: {}}}}", "gateways.ingress.replicas=3", "gateways.ingress.type=NodePort")
	url := b.nodeURLs()[0]
	b.Eventually("the client of a PROXY header", func() error {
		text, err := b.Client(b.Context(), "curl", "-sS", "--max-time", "3", "--haproxy-protocol", url)
		if err != nil {
			return err
		}
		var got seen
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
		if forwarded := fmt.Sprint(got.Headers["X-Forwarded-For"]); forwarded != "["+lanClient+"]" {
			return fmt.Errorf("X-Forwarded-For: %s", forwarded)
		}
		return nil
	})
	if got, err := b.get(url); err == nil {
		b.Errorf("a connection without a PROXY header is served: %+v", got)
	}
}

// loadBalancer: MetalLB's address, which one node has at a time.
func (b *bench) loadBalancer() {
	b.Run("Cluster", func(t *testing.T) {
		b := b.on(t)
		b.install("gateways.ingress.replicas=3")
		pods, url := b.gateways(3), "http://"+b.address()+"/"
		b.answers(url)
		got := b.spread(url)
		b.within(got.Remotes, thirds(pods))
		b.hidden(got.Clients)
		b.Logf("announced by %s", b.announcer())
	})
	b.Run("Local", func(t *testing.T) {
		b := b.on(t)
		b.install("gateways.ingress.replicas=3", "gateways.ingress.externalTrafficPolicy=Local")
		pods, url := b.gateways(3), "http://"+b.address()+"/"
		for n := 1; n <= b.Nodes(); n++ {
			node := b.Node(n).Name()
			b.announceFrom(node)
			b.answers(url)
			b.Logf("announced by %s, pods %v", node, pods[node])
			got := b.spread(url)
			b.within(got.Remotes, evenly(pods[node]))
			b.kept(got.Clients)
		}
		b.Must(fmt.Sprintf(advertisement, "[{}]"), "apply", "--server-side", "--force-conflicts", "-f", "-")
		b.health(pods)
	})
	b.Run("Local, no pod on one node", func(t *testing.T) {
		b := b.on(t)
		b.install("gateways.ingress.replicas=1", "gateways.ingress.externalTrafficPolicy=Local")
		pods, url := b.gateways(1), "http://"+b.address()+"/"
		b.Eventually("the node with the pod announces the address", func() error {
			if node := b.announcer(); len(pods[node]) == 0 {
				return fmt.Errorf("%q does", node)
			}
			return nil
		})
		b.answers(url)
		b.health(pods)
	})
}

// advertisement lets MetalLB announce from those nodes alone that are selected.
const advertisement = `
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: lan, namespace: metallb-system}
spec: {ipAddressPools: [lan], nodeSelectors: %s}
`

// announceFrom moves the address to a node, and waits until clients know.
func (b *bench) announceFrom(node string) {
	b.Helper()
	selector := fmt.Sprintf("[{matchLabels: {kubernetes.io/hostname: %s}}]", node)
	b.Must(fmt.Sprintf(advertisement, selector), "apply", "--server-side", "--force-conflicts", "-f", "-")
	b.Eventually(node+" announces the address", func() error {
		_, err := b.get("http://" + b.address() + "/")
		if got := b.announcer(); got != node {
			return fmt.Errorf("%q does (%v)", got, err)
		}
		return nil
	})
}

// nodeURLs are the gateway's at its NodePort, node by node.
func (b *bench) nodeURLs() (out []string) {
	b.Helper()
	for _, p := range b.service().Spec.Ports {
		for n := 1; p.Port == 80 && n <= b.Nodes(); n++ {
			out = append(out, fmt.Sprintf("http://%s:%d/", b.Node(n).Address(), p.NodePort))
		}
	}
	return out
}

// address is the one that the balancer gave.
func (b *bench) address() (out string) {
	b.Helper()
	b.Eventually("the Service's address", func() error {
		for _, i := range b.service().Status.LoadBalancer.Ingress {
			out = i.IP
			return nil
		}
		return fmt.Errorf("pending")
	})
	return out
}

// announcer is the node that answers ARP for the address: whose hardware
// address a client on the LAN gets.
func (b *bench) announcer() string {
	b.Helper()
	neighbours, err := b.Client(b.Context(), "ip", "neigh", "show", b.address())
	if err != nil {
		b.Fatal(err)
	}
	for n := 1; n <= b.Nodes(); n++ {
		node := b.Node(n)
		link, err := node.Exec(b.Context(), "cat", "/sys/class/net/eth0/address")
		if err == nil && strings.Contains(neighbours, "lladdr "+strings.TrimSpace(link)) {
			return node.Name()
		}
	}
	return ""
}

// answers waits until each URL does, 30 times in a row: the rules of kube-proxy
// and of each gateway pod follow what is installed by some moments.
func (b *bench) answers(urls ...string) {
	b.Helper()
	for _, url := range urls {
		b.Eventually(url+" answers", func() error {
			for range 30 {
				if _, err := b.get(url); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// drops waits until nothing answers there: not a refusal but silence.
func (b *bench) drops(url string) {
	b.Helper()
	b.Eventually(url+" drops connections", func() error {
		_, err := b.get(url)
		if err == nil {
			return fmt.Errorf("it answers")
		}
		if !strings.Contains(err.Error(), "Timeout") && !strings.Contains(err.Error(), "deadline exceeded") {
			return err
		}
		return nil
	})
}

// kept: the app sees the client's address.
func (b *bench) kept(clients map[string]int) {
	b.Helper()
	if len(clients) != 1 || clients[lanClient] == 0 {
		b.Errorf("X-Forwarded-For: %v, want %s alone", clients, lanClient)
	}
}

// hidden: the app sees a node in place of the client.
func (b *bench) hidden(clients map[string]int) {
	b.Helper()
	if clients[lanClient] > 0 || len(clients) == 0 {
		b.Errorf("X-Forwarded-For: %v, want addresses of nodes", clients)
	}
}

// throughTheMesh: an app with a sidecar sees the client too, and nobody can
// pretend to be another.
func (b *bench) throughTheMesh(url string) {
	b.Helper()
	b.Eventually("the app in the mesh", func() error {
		got, err := b.get(url, "Host=shop.example.com", "X-Forwarded-For=1.2.3.4")
		if err != nil {
			return err
		}
		forwarded, peer := fmt.Sprint(got.Headers["X-Forwarded-For"]), fmt.Sprint(got.Headers["X-Forwarded-Client-Cert"])
		if forwarded != "[1.2.3.4,"+lanClient+"]" {
			b.Errorf("X-Forwarded-For: %s: want the client's own address last", forwarded)
		}
		if !strings.Contains(peer, "URI=spiffe://cluster.local/ns/weft-system/sa/istio-ingressgateway") {
			b.Errorf("the gateway's identity: %s", peer)
		}
		b.Logf("X-Forwarded-For %s, X-Envoy-External-Address %s", forwarded, got.Headers["X-Envoy-External-Address"])
		return nil
	})
}

// health: the port that balancers ask which nodes have pods.
func (b *bench) health(pods map[string][]string) {
	b.Helper()
	port := b.service().Spec.HealthCheckNodePort
	for n := 1; n <= b.Nodes(); n++ {
		node, want := b.Node(n), "503"
		if len(pods[node.Name()]) > 0 {
			want = "200"
		}
		b.Eventually(fmt.Sprintf("healthCheckNodePort of %s says %s", node.Name(), want), func() error {
			ctx, cancel := context.WithTimeout(b.Context(), 5*time.Second)
			defer cancel()
			got, err := b.Client(ctx, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", fmt.Sprintf("http://%s:%d/healthz", node.Address(), port))
			if err == nil && got != want {
				err = fmt.Errorf("%s", got)
			}
			return err
		})
	}
}

// evenly gives each pod the same share.
func evenly(pods []string) map[string]float64 {
	out := map[string]float64{}
	for _, p := range pods {
		out[p] = 1 / float64(len(pods))
	}
	return out
}

func thirds(pods map[string][]string) map[string]float64 {
	return evenly(slices.Concat(slices.Collect(maps.Values(pods))...))
}

// perNode gives each node the same share, and its pods the same of that.
func perNode(pods map[string][]string) map[string]float64 {
	out := map[string]float64{}
	for _, on := range pods {
		for pod, share := range evenly(on) {
			out[pod] = share / float64(len(pods))
		}
	}
	return out
}
