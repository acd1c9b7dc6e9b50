package ca

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/weftmesh/weft/ca/internal/refusal"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/spiffe"
	"github.com/weftmesh/weft/test/boundtoken"
	"github.com/weftmesh/weft/test/cluster"
	"github.com/weftmesh/weft/test/plugca"
)

// kubeMesh is a mesh whose CAs use a real API server, and a namespace shop.
type kubeMesh struct {
	*mesh
	server *cluster.API
	api    kubernetes.Interface
	system *boundtoken.Pods
	shop   *boundtoken.Pods
	node   *corev1.Node
}

func newKubeMesh(t *testing.T) *kubeMesh {
	t.Helper()
	server := cluster.APIServer(t)
	api, err := server.Clientset()
	if err != nil {
		t.Fatal(err)
	}
	m := &kubeMesh{
		mesh: newMesh(t), server: server, api: api,
		system: boundtoken.New(t, api, "weft-system"), shop: boundtoken.New(t, api, "shop"),
	}
	m.node = m.shop.Node("node")
	m.shop.Account("reviews")
	for _, account := range []string{"weft-pilot", "weft-injector", "weft-injector-canary", "weft-ca"} {
		m.system.Account(account)
	}
	m.limit()
	return m
}

// rights are all that the CA may do, as package cluster lists them.
const rights = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: weft-ca}
rules:
- {apiGroups: [""], resources: [namespaces], verbs: [list, watch]}
- {apiGroups: [""], resources: [configmaps], resourceNames: [istio-ca-root-cert], verbs: [list, watch, patch, delete]}
- {apiGroups: [""], resources: [configmaps], verbs: [create]}
- {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
- {apiGroups: [""], resources: [pods], verbs: [get]}
- {apiGroups: [networking.istio.io], resources: [workloadentries], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: SYSTEM-ca}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: weft-ca}
subjects: [{kind: ServiceAccount, name: weft-ca, namespace: SYSTEM}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: weft-ca, namespace: SYSTEM}
rules:
- {apiGroups: [""], resources: [secrets], resourceNames: [cacerts, istio-ca-secret], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [secrets], resourceNames: [istio-ca-secret], verbs: [update]}
- {apiGroups: [""], resources: [secrets], verbs: [create]}
- {apiGroups: [""], resources: [configmaps], resourceNames: [weft-ca-rotation], verbs: [get, patch]}
- {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [weft-ca-leader], verbs: [get, update]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: weft-ca, namespace: SYSTEM}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: weft-ca}
subjects: [{kind: ServiceAccount, name: weft-ca, namespace: SYSTEM}]
`

// limit writes a kubeconfig of the CA's account, which has the rights above and
// no other: every test shows that they are enough.
func (m *kubeMesh) limit() {
	m.t.Helper()
	if err := m.server.Apply(m.t.Context(), strings.ReplaceAll(rights, "SYSTEM", m.system.Namespace)); err != nil {
		m.t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(m.server.Kubeconfig())
	if err != nil {
		m.t.Fatal(err)
	}
	for _, user := range config.AuthInfos {
		user.Impersonate = "system:serviceaccount:" + m.system.Namespace + ":weft-ca"
	}
	if err := clientcmd.WriteToFile(*config, m.path("kubeconfig")); err != nil {
		m.t.Fatal(err)
	}
}

func (m *kubeMesh) options(replica string) Options {
	return Options{
		Listen: "127.0.0.1:0", Monitoring: "127.0.0.1:0", Namespace: m.system.Namespace,
		Kube: true, Kubeconfig: m.path("kubeconfig"), Replica: replica, Logger: slog.New(slog.NewTextHandler(&m.logs, nil)),
	}
}

// startKube starts a CA and writes root.pem from the ConfigMap of namespace shop,
// as a pod would mount it.
func (m *kubeMesh) startKube(opts Options) *running {
	m.t.Helper()
	r := m.start(opts)
	m.mountRoots("")
	return r
}

// mountRoots waits for roots other than old.
func (m *kubeMesh) mountRoots(old string) string {
	m.t.Helper()
	var roots string
	within(m.t, "roots in the ConfigMap", func() bool {
		found, err := m.api.CoreV1().ConfigMaps(m.shop.Namespace).Get(context.Background(), "istio-ca-root-cert", metav1.GetOptions{})
		if err != nil {
			return false
		}
		roots = found.Data["root-cert.pem"]
		return roots != "" && roots != old
	})
	m.write("root.pem", []byte(roots))
	return roots
}

// enrol is a client that asks for id with token at address, a function for each
// connection.
func (m *kubeMesh) enrol(address func() string, id spiffe.ID, token string) *enroll.Client {
	m.t.Helper()
	roots, err := enroll.RootsFile(m.path("root.pem"))
	if err != nil {
		m.t.Fatal(err)
	}
	c, err := enroll.NewClient(enroll.ClientOptions{
		Address: "ca.test:15012", CA: spiffe.ID{TrustDomain: "cluster.local", Namespace: m.system.Namespace, ServiceAccount: "weft-ca"},
		Identity: id, Roots: roots, TokenFile: m.write("token-"+id.ServiceAccount, []byte(token)),
		Dial: dialer(address),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

func dialer(address func() string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address())
	}
}

func at(r *running) func() string { return func() string { return r.addr } }

func idOf(p *boundtoken.Pods, account string) spiffe.ID {
	return spiffe.ID{TrustDomain: "cluster.local", Namespace: p.Namespace, ServiceAccount: account}
}

func TestKubeIssue(t *testing.T) {
	m := newKubeMesh(t)
	r := m.startKube(m.options("a"))
	pod := m.shop.Pod("reviews-v1-0", "reviews", m.node.Name)
	token := m.shop.Token(pod)
	cert, err := issueOne(t, m.enrol(at(r), idOf(m.shop, "reviews"), token))
	if err != nil {
		t.Fatalf("%v\n%s", err, &m.logs)
	}
	var subject pkix.RDNSequence
	if _, err := asn1.Unmarshal(cert.Leaf.RawSubject, &subject); err != nil {
		t.Fatal(err)
	}
	if got, want := subject.String(), "OU=ver:v1,OU=app:reviews,OU=ns:"+m.shop.Namespace+",OU=wl:reviews-v1-0"; got != want {
		t.Errorf("subject %q, want %q", got, want)
	}
	if len(cert.Leaf.DNSNames) != 0 {
		t.Errorf("DNS names %q", cert.Leaf.DNSNames)
	}
	if code, body := m.get(r, "/ready"); code != http.StatusOK {
		t.Errorf("/ready: %d %s", code, body)
	}
	foreign := []string{"/ns/" + m.system.Namespace + "/sa/weft-pilot", "/ns/" + m.shop.Namespace + "/sa/ratings", "/ns/default/sa/reviews"}
	for _, account := range foreign {
		err := m.call(r, request(t, account), 0, bearer(token)...)
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s asked for: %v", account, err)
		}
	}
	if got := m.refused(r, string(refusal.CSRName)); got != float64(len(foreign)) {
		t.Errorf("%v foreign names counted, want %d", got, len(foreign))
	}
	m.shop.Delete(pod)
	if err := m.call(r, request(t, "/ns/"+m.shop.Namespace+"/sa/reviews"), 0, bearer(token)...); status.Code(err) != codes.Unauthenticated {
		t.Errorf("pod deleted: %v", err)
	}
	if strings.Contains(m.logs.String(), token) || strings.Contains(m.logs.String(), "PRIVATE KEY") {
		t.Error("a token or key is in the log")
	}
}

// The API server calls webhooks by the names of their Services.
func TestKubeServiceNames(t *testing.T) {
	m := newKubeMesh(t)
	r := m.startKube(m.options("a"))
	for _, account := range []string{"weft-pilot", "weft-injector", "weft-injector-canary"} {
		pod := m.system.Pod(account+"-0", account, m.node.Name)
		cert, err := issueOne(t, m.enrol(at(r), idOf(m.system, account), m.system.Token(pod)))
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{account + "." + m.system.Namespace + ".svc"}; !slices.Equal(cert.Leaf.DNSNames, want) {
			t.Errorf("DNS names %q, want %q", cert.Leaf.DNSNames, want)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(readFile(t, m.path("root.pem"))))
	conn, err := tls.Dial("tcp", r.addr, &tls.Config{RootCAs: pool, ServerName: "weft-ca." + m.system.Namespace + ".svc", NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// A plug-in CA takes over while the CA runs: its chain is served, by the CA
// itself too, and callers that mount the new roots are served at once.
func TestKubePlugInWhileRunning(t *testing.T) {
	m := newKubeMesh(t)
	r := m.startKube(m.options("a"))
	old := readFile(t, m.path("root.pem"))
	parts := plugca.New(t, plugca.RSA)
	_, err := m.api.CoreV1().Secrets(m.system.Namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "cacerts"},
		Data:       parts,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.mountRoots(old); got != string(parts["root-cert.pem"]) {
		t.Errorf("roots published:\n%s", got)
	}
	pod := m.shop.Pod("reviews-0", "reviews", m.node.Name)
	cert, err := issueOne(t, m.enrol(at(r), idOf(m.shop, "reviews"), m.shop.Token(pod)))
	if err != nil {
		t.Fatal(err)
	}
	between, _ := pem.Decode(parts["ca-cert.pem"])
	if chain := cert.TLS().Certificate; len(chain) < 2 || !bytes.Equal(chain[1], between.Bytes) {
		t.Errorf("chain of %d certificates does not hold the intermediate", len(chain))
	}
}

// A plugged-in CA whose Secret is deleted signs on with the last good key.
func TestKubePlugInDeleted(t *testing.T) {
	m := newKubeMesh(t)
	secrets := m.api.CoreV1().Secrets(m.system.Namespace)
	_, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "cacerts"}, Data: plugca.New(t, plugca.EC)}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	opts := m.options("a")
	opts.fence = 3 * time.Second
	r := m.startKube(opts)
	if err := secrets.Delete(t.Context(), "cacerts", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "the missing Secret shows", func() bool { return m.metric(r, "weft_ca_secret_rejected") == 1 })
	past := time.Now().Add(2 * opts.fence)
	within(t, "the fence has passed", func() bool { return time.Now().After(past) })
	client := m.enrol(at(r), idOf(m.shop, "reviews"), m.shop.Token(m.shop.Pod("reviews-0", "reviews", m.node.Name)))
	within(t, "a certificate", func() bool { _, err := issueOne(t, client); return err == nil })
}

// While the API server is away callers hear that they may ask again, and are
// served after its return.
func TestKubeAPIServerAway(t *testing.T) {
	m := newKubeMesh(t)
	r := m.startKube(m.options("a"))
	token, csr := m.shop.Token(m.shop.Pod("reviews-0", "reviews", m.node.Name)), request(t, "/ns/"+m.shop.Namespace+"/sa/reviews")
	if err := m.server.KillAPIServer(); err != nil {
		t.Fatal(err)
	}
	defer m.returned()
	for range 8 {
		if err := m.call(r, csr, 0, bearer(token)...); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "ask again") {
			t.Errorf("answer %v", err)
		}
	}
	if got := m.metric(r, "weft_ca_kubernetes_breaker_state"); got != 2 {
		t.Errorf("breaker state %v, want 2", got)
	}
	if code, body := m.get(r, "/ready"); code != http.StatusOK {
		t.Errorf("/ready: %d %s", code, body)
	}
	m.returned()
	within(t, "a certificate", func() bool { return m.call(r, csr, 0, bearer(token)...) == nil })
}

func (m *kubeMesh) returned() {
	if _, err := m.api.Discovery().ServerVersion(); err == nil {
		return
	}
	if err := m.server.StartAPIServer(context.Background()); err != nil {
		m.t.Fatal(err)
	}
}

// A CA that starts while the API server is away is not ready, and is once it is
// there; told to stop meanwhile it ends.
func TestKubeStartWithoutAPIServer(t *testing.T) {
	m := newKubeMesh(t)
	if err := m.server.KillAPIServer(); err != nil {
		t.Fatal(err)
	}
	defer m.returned()
	stop, ended := m.launch("127.0.0.1:0")
	within(t, "a log line", func() bool { return strings.Contains(m.logs.String(), "will try again") })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	free := listenLoopback(t)
	r := &running{monitoring: free.Addr().String()}
	_ = free.Close()
	stop, ended = m.launch(r.monitoring)
	defer stop()
	within(t, "not ready", func() bool { return ready(r) == http.StatusServiceUnavailable })
	m.returned()
	within(t, "ready", func() bool { return ready(r) == http.StatusOK })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func (m *kubeMesh) launch(monitoring string) (stop context.CancelFunc, ended <-chan error) {
	opts := m.options("a")
	opts.Monitoring = monitoring
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, opts) }()
	return cancel, done
}

// ready is the status of a replica's readiness, 0 if it does not answer.
func ready(r *running) int {
	reply, err := http.Get("http://" + r.monitoring + "/ready")
	if err != nil {
		return 0
	}
	_ = reply.Body.Close()
	return reply.StatusCode
}

// balancer is what a cluster's Service does: it sends each connection to a
// replica that was ready when last looked at.
type balancer struct {
	mu       sync.Mutex
	replicas []*running
	ready    []string
	turn     int
}

func (s *balancer) set(rs ...*running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replicas = rs
}

// watch looks at the replicas until ctx is done, ten times a second.
func (s *balancer) watch(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		s.mu.Lock()
		replicas := slices.Clone(s.replicas)
		s.mu.Unlock()
		var open []string
		for _, r := range replicas {
			if ready(r) == http.StatusOK {
				open = append(open, r.addr)
			}
		}
		s.mu.Lock()
		s.ready = open
		s.mu.Unlock()
		<-tick.C
	}
}

func (s *balancer) address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ready) == 0 {
		return "127.0.0.1:1"
	}
	s.turn++
	return s.ready[s.turn%len(s.ready)]
}

// Both replicas are replaced, one after the other, under steady requests: none
// fails, and all certificates chain to one root.
func TestKubeRollOut(t *testing.T) {
	m := newKubeMesh(t)
	options := func(name string) Options {
		o := m.options(name)
		o.StopDelay = 3 * time.Second // s.watch may be late on a machine that stalls
		return o
	}
	a, b := m.startKube(options("a")), m.startKube(options("b"))
	s := &balancer{}
	s.set(a, b)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() { s.watch(ctx) })
	within(t, "both are ready", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.ready) == 2 })

	var issued atomic.Int64
	for i := range 4 {
		pod := m.shop.Pod("reviews-"+string(rune('a'+i)), "reviews", m.node.Name)
		client := m.enrol(s.address, idOf(m.shop, "reviews"), m.shop.Token(pod))
		all.Go(func() {
			tick := time.NewTicker(time.Second) // as often as a pod may ask
			defer tick.Stop()
			for ctx.Err() == nil {
				if _, err := client.Issue(ctx); err == nil {
					issued.Add(1)
				} else if !errors.Is(err, context.Canceled) && ctx.Err() == nil {
					t.Error(err)
				}
				<-tick.C
			}
		})
	}
	replace := func(old *running, name string, stays *running) *running {
		fresh := m.startKube(options(name))
		s.set(fresh, stays, old)
		if err := old.stop(); err != nil {
			t.Error(err)
		}
		return fresh
	}
	a = replace(a, "c", b)
	before := issued.Load()
	replace(b, "d", a)
	within(t, "certificates after the roll-out", func() bool { return issued.Load() > before+8 })
}
