package pilot

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weftmesh/weft/apis"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/source/kube"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/test/cluster"
)

// TestLease: the revision that gave up being the default does not lead for the one
// that is. The chart grants the same names.
func TestLease(t *testing.T) {
	for c, want := range map[Cluster]string{
		{Revision: "default", Default: true}: "weft-pilot-leader",
		{Revision: "next", Default: true}:    "weft-pilot-leader",
		{Revision: "default"}:                "weft-pilot-leader-default",
		{Revision: "next"}:                   "weft-pilot-leader-next",
	} {
		if got := c.lease(); got != want {
			t.Errorf("%+v: %s, want %s", c, got, want)
		}
	}
}

// inCluster is a pilot at a real API server.
type inCluster struct {
	*cluster.API
	t       *testing.T
	addrs   Addresses
	metrics *prometheus.Registry
	ca      *testCA
}

const clusterPatience = 60 * time.Second

// newInCluster starts one that looks after a namespace of its own.
func newInCluster(t *testing.T, ns string) *inCluster {
	t.Helper()
	c := &inCluster{API: cluster.APIServer(t), t: t, metrics: prometheus.NewRegistry(), ca: newTestCA(t)}
	crds, err := apis.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range crds {
		c.apply(string(text))
	}
	for _, name := range []string{ns, "weft-system"} {
		c.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n")
	}
	c.apply(fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: %s}\nspec: {ports: [{name: http, port: 80}]}\n", ns))
	src, err := kube.New(kube.Options{Kubeconfig: c.Kubeconfig(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	identity := enroll.NewManager(enroll.ManagerOptions{Issuer: c.ca, Roots: c.ca.roots(), Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan Addresses, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{
			Source: src, InsecureXDS: "127.0.0.1:0", Identity: identity, Metrics: c.metrics,
			Log: slog.New(slog.DiscardHandler), Started: func(a Addresses) { started <- a },
			Cluster: &Cluster{Kubeconfig: c.Kubeconfig(), Default: true, Replica: "pilot-1", Webhook: "127.0.0.1:0", WebhookConfig: "weft-validator"},
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case c.addrs = <-started:
	case err := <-ended:
		t.Fatal(err)
	}
	return c
}

func (c *inCluster) apply(text string) {
	c.t.Helper()
	if err := c.Apply(context.Background(), text); err != nil {
		c.t.Fatal(err)
	}
}

// object is what is read of a stored object.
type object struct {
	Metadata struct {
		Generation      int64
		ResourceVersion string
	}
	Status struct {
		ObservedGeneration int64
		Conditions         []struct {
			Type, Status, Reason, Message, LastTransitionTime string
			ObservedGeneration                                int64
		}
		ValidationMessages []struct {
			Level string
			Type  struct{ Code, Name string }
		}
	}
}

// condition gives "STATUS REASON: MESSAGE" if it is about the newest generation.
func (o object) condition(name string) string {
	for _, c := range o.Status.Conditions {
		if c.Type == name && c.ObservedGeneration == o.Metadata.Generation && o.Status.ObservedGeneration == o.Metadata.Generation {
			return c.Status + " " + c.Reason + ": " + c.Message
		}
	}
	return ""
}

// get reads GROUP/RESOURCE/NAMESPACE/NAME.
func (c *inCluster) get(group, resource, ns, name string) (o object) {
	c.t.Helper()
	client, err := c.Clientset()
	if err != nil {
		c.t.Fatal(err)
	}
	raw, err := client.Discovery().RESTClient().Get().AbsPath("/apis", group, "v1", "namespaces", ns, resource, name).DoRaw(context.Background())
	if err != nil {
		c.t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		c.t.Fatal(err)
	}
	return o
}

// eventually waits for a condition; what says what is there instead.
func (c *inCluster) eventually(what string, now func() (string, bool)) {
	c.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(clusterPatience)
	for {
		got, ok := now()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			c.t.Fatalf("%s: not in %v; there is %q", what, clusterPatience, got)
		}
	}
}

// becomes waits until a condition of a networking object begins with want.
func (c *inCluster) becomes(resource, ns, name, condition, want string) {
	c.t.Helper()
	c.eventually(resource+"/"+name+" "+condition+" "+want, func() (string, bool) {
		got := c.get("networking.istio.io", resource, ns, name).condition(condition)
		return got, strings.HasPrefix(got, want)
	})
}

// proxy is a delta-ADS client that asks for all as Envoy does.
type proxy struct {
	stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	refuse func(*discovery.Resource) string // a text refuses the answer
}

func (c *inCluster) proxy(pod, ns string, refuse func(*discovery.Resource) string) (stop func()) {
	c.t.Helper()
	conn, err := grpc.NewClient(c.addrs.InsecureXDS, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	p := &proxy{stream: stream, refuse: refuse}
	node := &core.Node{Id: "sidecar~10.1.0.1~" + pod + "." + ns + "~x"}
	for _, ask := range []struct {
		typeURL string
		names   []string
	}{{snapshot.Cluster, nil}, {snapshot.Listener, nil}, {snapshot.Route, []string{"80"}}, {snapshot.VirtualHost, nil}} {
		if err := stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: ask.typeURL, Node: node, ResourceNamesSubscribe: ask.names}); err != nil {
			c.t.Fatal(err)
		}
		node = nil
	}
	done := make(chan struct{})
	go func() { defer close(done); p.run() }()
	stop = func() { cancel(); <-done; conn.Close() }
	c.t.Cleanup(stop)
	return stop
}

func (p *proxy) run() {
	for {
		m, err := p.stream.Recv()
		if err != nil {
			return
		}
		ack := &discovery.DeltaDiscoveryRequest{TypeUrl: m.TypeUrl, ResponseNonce: m.Nonce}
		for _, r := range m.Resources {
			if p.refuse == nil {
				continue
			}
			if text := p.refuse(r); text != "" {
				ack.ErrorDetail = &rpcstatus.Status{Code: 13, Message: text}
			}
		}
		if p.stream.Send(ack) != nil {
			return
		}
	}
}

func virtualService(ns, name, host, timeout string) string {
	return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s, namespace: %s}
spec: {hosts: [%s], http: [{timeout: %s, route: [{destination: {host: %s}}]}]}
---`, name, ns, host, timeout, host)
}

func rule(ns, balancer string) string {
	return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: %s}
spec: {host: a, trafficPolicy: {loadBalancer: {simple: %s}}}
`, ns, balancer)
}

// TestStatus: what stands in an object's status is true of its newest
// generation.
func TestStatus(t *testing.T) {
	const ns = "truth"
	c := newInCluster(t, ns)
	c.apply(virtualService(ns, "a", "a", "1s"))
	c.becomes("virtualservices", ns, "a", "Accepted", "True Accepted")
	c.becomes("virtualservices", ns, "a", "Programmed", "False NoProxy: live on 0 of 0 proxies")
	c.proxy("one", ns, nil)
	refused := make(chan bool)
	stop := c.proxy("two", ns, func(r *discovery.Resource) string {
		if strings.HasPrefix(r.Name, "outbound|80||a."+ns) {
			select {
			case <-refused:
				return "cluster a: not today"
			default:
			}
		}
		return ""
	})
	c.becomes("virtualservices", ns, "a", "Programmed", "True Live: live on 2 of 2 proxies")
	c.apply(rule(ns, "LEAST_REQUEST"))
	c.becomes("destinationrules", ns, "a", "Programmed", "True Live: live on 2 of 2 proxies")
	since := c.get("networking.istio.io", "destinationrules", ns, "a").Status.Conditions[0].LastTransitionTime
	close(refused)
	c.apply(rule(ns, "RANDOM"))
	c.becomes("destinationrules", ns, "a", "Programmed", "False Refused: live on 1 of 2 proxies; two."+ns+" refused outbound|80||a."+ns+".svc.cluster.local: cluster a: not today")
	if now := c.get("networking.istio.io", "destinationrules", ns, "a").Status.Conditions[0]; now.Type != "Accepted" || now.LastTransitionTime != since {
		t.Errorf("the time of a condition that did not change is %s, was %s", now.LastTransitionTime, since)
	}
	stop()
	c.becomes("destinationrules", ns, "a", "Programmed", "True Live: live on 1 of 1 proxies")
	c.waits(ns)
	c.apply(fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: %s}\nspec: {mtls: {mode: STRICT}}\n", ns))
	c.eventually("the policy is in force", func() (string, bool) {
		got := c.get("security.istio.io", "peerauthentications", ns, "default").condition("Programmed")
		return got, strings.HasPrefix(got, "True Live: live on 1 of 1 proxies")
	})

	c.apply(virtualService(ns, "a", "missing", "1s"))
	c.becomes("virtualservices", ns, "a", "Accepted", "False Invalid: IST0101 spec.http[0].route[0].destination.host: host")
	c.apply(fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: deny, namespace: %s}\nspec: {jwtRules: [{issuer: a, jwks: none}]}\n", ns))
	c.eventually("the policy is said to refuse all tokens", func() (string, bool) {
		o := c.get("security.istio.io", "requestauthentications", ns, "deny")
		got := o.condition("Accepted")
		return got, strings.HasPrefix(got, "False Invalid: WEFT0190") && len(o.Status.ValidationMessages) == 1 && o.Status.ValidationMessages[0].Type.Code == "WEFT0190"
	})
}

// waits: kubectl wait works on the conditions.
func (c *inCluster) waits(ns string) {
	c.t.Helper()
	kubectl := exec.Command(cluster.Kubectl(c.t), "--kubeconfig", c.Kubeconfig(), "-n", ns, "wait", "--for=condition=Programmed", "--timeout=30s", "destinationrule/a")
	if out, err := kubectl.CombinedOutput(); err != nil {
		c.t.Errorf("kubectl wait: %v\n%s", err, out)
	}
}

// value is that of a counter or the count of a histogram, over all labels.
func (c *inCluster) value(name string) (sum int) {
	c.t.Helper()
	families, err := c.metrics.Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += int(m.GetCounter().GetValue()) + int(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// TestManyStatuses: changes of many objects at once make at most two writes of
// each, at a bounded rate, and what is written makes no work again.
func TestManyStatuses(t *testing.T) {
	const ns, many = "crowd", 200
	c := newInCluster(t, ns)
	c.proxy("one", ns, nil)
	var all strings.Builder
	for i := range many {
		all.WriteString(virtualService(ns, fmt.Sprintf("v%d", i), fmt.Sprintf("v%d.example.org", i), "1s"))
	}
	start := time.Now()
	c.apply(all.String())
	for i := range many {
		c.becomes("virtualservices", ns, fmt.Sprintf("v%d", i), "Accepted", "False Invalid: IST0101")
	}
	c.eventually("every status is written", func() (string, bool) {
		n := c.value("weft_pilot_status_writes_total")
		return fmt.Sprint(n), n >= many
	})
	took, writes, runs := time.Since(start), c.value("weft_pilot_status_writes_total"), c.value("weft_pilot_run_seconds")
	t.Logf("%d writes for %d objects in %v, %d runs of the pipeline", writes, many, took, runs)
	if limit := 20 + int(took.Seconds()*20) + 1; writes > 2*many || writes > limit {
		t.Errorf("%d writes in %v: at most %d", writes, took, limit)
	}
	// One more change, which comes after all that the writes might have caused.
	c.apply(virtualService(ns, "last", "a", "1s"))
	c.becomes("virtualservices", ns, "last", "Accepted", "True")
	if n := c.value("weft_pilot_run_seconds") - runs; n > 2 {
		t.Errorf("%d runs of the pipeline after the writes", n)
	}
}

const validator = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: weft-validator}
webhooks:
- name: validator.weft.mesh
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %s}}
  clientConfig: {url: "https://%s/validate"%s}
  rules:
  - {apiGroups: [networking.istio.io, security.istio.io], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: ["*"]}
`

// TestWebhook: the API server asks the pilot, and trusts it by the bundle that
// the pilot keeps.
func TestWebhook(t *testing.T) {
	const ns = "gate"
	c := newInCluster(t, ns)
	c.apply(virtualService(ns, "before", "a", "1s"))
	c.apply(fmt.Sprintf(validator, ns, c.addrs.Webhook, ""))
	t.Cleanup(func() {
		if err := c.Delete(context.Background(), fmt.Sprintf(validator, ns, c.addrs.Webhook, "")); err != nil {
			t.Error(err)
		}
	})
	c.apply(fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio-ca-root-cert, namespace: weft-system}\ndata: {root-cert.pem: %q}\n", c.ca.pem()))
	c.eventually("the webhook is trusted", func() (string, bool) {
		err := c.Apply(context.Background(), virtualService(ns, "good", "later.example.org", "1s"))
		return fmt.Sprint(err), err == nil
	})
	for name, x := range map[string]struct{ text, want string }{
		"a security rule":        {fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: deny, namespace: %s}\nspec: {jwtRules: [{issuer: a, jwks: none}]}\n", ns), "WEFT0190"},
		"a bad regex":            {strings.Replace(virtualService(ns, "bad", "a", "1s"), "timeout: 1s", `match: [{uri: {regex: "("}}]`, 1), "spec.http[0].match[0].uri"},
		"a proxy's image":        {fmt.Sprintf("apiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {name: debug, namespace: %s}\nspec: {image: {imageType: debug}}\n", ns), "spec.image.imageType"},
		"an update to a mistake": {strings.Replace(virtualService(ns, "before", "a", "1s"), "timeout: 1s", `match: [{uri: {regex: "("}}]`, 1), "IST0106"},
	} {
		if err := c.Apply(context.Background(), x.text); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v; want %s", name, err, x.want)
		}
	}
	// Somebody spoils the bundle; it is repaired.
	c.apply(fmt.Sprintf(validator, ns, c.addrs.Webhook, ", caBundle: "+otherBundle(t)))
	c.eventually("the bundle is repaired", func() (string, bool) {
		err := c.Apply(context.Background(), virtualService(ns, "good", "later.example.org", "2s"))
		return fmt.Sprint(err), err == nil
	})
}

// otherBundle is a CA's that has nothing to do with the mesh, in base64.
func otherBundle(t *testing.T) string {
	return base64.StdEncoding.EncodeToString([]byte(newTestCA(t).pem()))
}
