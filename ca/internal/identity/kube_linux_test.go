package identity

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/ca/internal/refusal"
	"github.com/weftmesh/weft/internal/spiffe"
	"github.com/weftmesh/weft/test/boundtoken"
	"github.com/weftmesh/weft/test/cluster"
)

// proving is a Kube on a real API server, and pods to prove.
type proving struct {
	*boundtoken.Pods
	api  *cluster.API
	kube *Kube
	node *corev1.Node
}

func newProving(t testing.TB) *proving {
	t.Helper()
	api := cluster.APIServer(t)
	clients, err := api.Clientset()
	if err != nil {
		t.Fatal(err)
	}
	kube, err := NewKube(api.RESTConfig(), "cluster.local", prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	p := &proving{Pods: boundtoken.New(t, clients, "shop"), api: api, kube: kube}
	p.Account("reviews")
	p.node = p.Node("node")
	return p
}

func TestKubeProvesAPod(t *testing.T) {
	p := newProving(t)
	pod := p.Pod("reviews-v1-6c5d-x2x", "reviews", p.node.Name, ownedBy("ReplicaSet", "reviews-v1-6c5d", map[string]string{"pod-template-hash": "6c5d"}))
	got, err := p.kube.Authenticate(t.Context(), Token(p.Token(pod)))
	if err != nil {
		t.Fatal(err)
	}
	want := Caller{
		ID:       spiffe.ID{TrustDomain: "cluster.local", Namespace: p.Namespace, ServiceAccount: "reviews"},
		Workload: "reviews-v1", App: "reviews", Version: "v1", Pod: Pod{Name: pod.Name, UID: string(pod.UID)},
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A token that was asked for before its pod had a node names none.
func TestKubeProvesAPodThatHadNoNode(t *testing.T) {
	p := newProving(t)
	pod := p.Pod("early", "reviews", p.node.Name)
	s := boundtoken.NewSigner(t, filepath.Join(filepath.Dir(p.api.Kubeconfig()), "pki", "sa.key"), p.Token(pod))
	token := s.Forge(p.Token(pod), func(c jwt.MapClaims) { delete(bound(c), "node") })
	if _, err := p.kube.Authenticate(t.Context(), Token(token)); err != nil {
		t.Error(err)
	}
}

func bound(c jwt.MapClaims) map[string]any { return c["kubernetes.io"].(map[string]any) }

// refusedToken makes a token that must be refused for want. Where screened, the
// API server need not be asked; it is asked all the same, for a forger's token
// may look different.
type refusedToken struct {
	make     func(p *proving, s *boundtoken.Signer) string
	want     refusal.Reason
	screened bool
}

var refusedTokens = map[string]refusedToken{
	"none":      {func(*proving, *boundtoken.Signer) string { return "" }, refusal.TokenMissing, true},
	"garbage":   {func(*proving, *boundtoken.Signer) string { return "a.b.c" }, refusal.TokenMalformed, true},
	"oversized": {func(*proving, *boundtoken.Signer) string { return strings.Repeat("a", maxToken+1) }, refusal.TokenOversized, true},
	"other audience": {func(p *proving, _ *boundtoken.Signer) string {
		pod := p.Pod("audience", "reviews", p.node.Name)
		return p.Request("reviews", authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}, BoundObjectRef: podRef(pod)})
	}, refusal.TokenAudience, true},
	"the API server's own audience": {func(p *proving, _ *boundtoken.Signer) string {
		return p.Request("reviews", authenticationv1.TokenRequestSpec{BoundObjectRef: podRef(p.Pod("default", "reviews", p.node.Name))})
	}, refusal.TokenAudience, true},
	"expired": {func(p *proving, s *boundtoken.Signer) string {
		return s.Forge(p.Token(p.Pod("expired", "reviews", p.node.Name)), func(c jwt.MapClaims) {
			c["iat"], c["nbf"], c["exp"] = past(2*time.Hour), past(2*time.Hour), past(time.Hour)
		})
	}, refusal.TokenExpired, true},
	"not bound": {func(p *proving, _ *boundtoken.Signer) string {
		return p.Request("reviews", authenticationv1.TokenRequestSpec{Audiences: []string{Audience}})
	}, refusal.TokenUnbound, true},
	"bound to a node": {func(p *proving, _ *boundtoken.Signer) string {
		return p.Request("reviews", authenticationv1.TokenRequestSpec{Audiences: []string{Audience},
			BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: p.node.Name, UID: p.node.UID}})
	}, refusal.TokenUnbound, true},
	"deleted pod": {func(p *proving, _ *boundtoken.Signer) string {
		pod := p.Pod("deleted", "reviews", p.node.Name)
		defer p.Delete(pod)
		return p.Token(pod)
	}, refusal.TokenDenied, false},
	"other pod's UID": {func(p *proving, s *boundtoken.Signer) string {
		pod, other := p.Pod("one", "reviews", p.node.Name), p.Pod("other", "reviews", p.node.Name)
		return s.Forge(p.Token(pod), func(c jwt.MapClaims) { bound(c)["pod"].(map[string]any)["uid"] = string(other.UID) })
	}, refusal.TokenDenied, false},
	"other key": {func(p *proving, _ *boundtoken.Signer) string {
		token := p.Token(p.Pod("forged", "reviews", p.node.Name))
		return token[:strings.LastIndexByte(token, '.')+1] + strings.Repeat("A", 86)
	}, refusal.TokenDenied, false},
	"pod of another account": {func(p *proving, s *boundtoken.Signer) string {
		p.Account("ratings")
		pod := p.Pod("ratings", "ratings", p.node.Name)
		foreign := p.Token(p.Pod("foreign", "reviews", p.node.Name))
		return s.Forge(foreign, func(c jwt.MapClaims) { bound(c)["pod"] = map[string]any{"name": pod.Name, "uid": string(pod.UID)} })
	}, refusal.PodMismatch, false},
	"pod of another node": {func(p *proving, s *boundtoken.Signer) string {
		other := p.Node("other")
		return s.Forge(p.Token(p.Pod("moved", "reviews", p.node.Name)), func(c jwt.MapClaims) {
			bound(c)["node"] = map[string]any{"name": other.Name, "uid": string(other.UID)}
		})
	}, refusal.PodMismatch, false},
	"pod on no node": {func(p *proving, _ *boundtoken.Signer) string {
		return p.Token(p.Pod("pending", "reviews", ""))
	}, refusal.PodMismatch, false},
	"pod that has ended": {func(p *proving, _ *boundtoken.Signer) string {
		pod := p.Pod("ended", "reviews", p.node.Name)
		p.Finish(pod, corev1.PodSucceeded)
		return p.Token(pod)
	}, refusal.PodFinished, false},
}

func past(d time.Duration) int64 { return time.Now().Add(-d).Unix() }

func podRef(pod *corev1.Pod) *authenticationv1.BoundObjectReference {
	return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
}

func TestKubeRefuses(t *testing.T) { newProving(t).refuses(t) }

// refuses has every token of the table refused.
func (p *proving) refuses(t *testing.T) {
	s := boundtoken.NewSigner(t, filepath.Join(filepath.Dir(p.api.Kubeconfig()), "pki", "sa.key"), p.Token(p.Pod("real", "reviews", p.node.Name)))
	for name, tc := range refusedTokens {
		t.Run(name, func(t *testing.T) {
			token := Token(tc.make(p, s))
			caller, err := p.kube.Authenticate(t.Context(), token)
			why := refusal.Of(err)
			if why == refusal.PodGone && tc.want == refusal.TokenDenied {
				why = tc.want // the API server itself may not have seen yet that the pod is gone
			}
			if why != tc.want || caller != (Caller{}) {
				t.Errorf("got %+v, %v; want %s", caller, err, tc.want)
			}
			if token != "" && strings.Contains(fmt.Sprint(err), string(token)) {
				t.Error("the refusal holds the token")
			}
			if tc.screened && len(token) > 0 {
				caller, err := p.kube.prove(t.Context(), token)
				if why := refusal.Of(err); why == "" || why == refusal.KubernetesAway || why == refusal.Internal {
					t.Errorf("unscreened: got %+v, %v; want a refusal", caller, err)
				}
			}
		})
	}
}

// The API server remembers for some seconds that a token was good; the pod is
// looked at all the same.
func TestKubeSeesThatAPodIsGone(t *testing.T) {
	p := newProving(t)
	pod := p.Pod("reviews-0", "reviews", p.node.Name)
	token := Token(p.Token(pod))
	if _, err := p.kube.Authenticate(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	p.Delete(pod)
	if _, err := p.kube.Authenticate(t.Context(), token); refusal.Of(err) != refusal.PodGone && refusal.Of(err) != refusal.TokenDenied {
		t.Errorf("deleted: %v", err)
	}
	p.Pod("reviews-0", "reviews", p.node.Name)
	if _, err := p.kube.Authenticate(t.Context(), token); refusal.Of(err) != refusal.PodGone && refusal.Of(err) != refusal.TokenDenied {
		t.Errorf("its successor has the name: %v", err)
	}
}

// Callers that do not wait say nothing of the API server.
func TestKubeImpatientCallers(t *testing.T) {
	p := newProving(t)
	token := Token(p.Token(p.Pod("reviews-0", "reviews", p.node.Name)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 * breakerTrip {
		_, _ = p.kube.Authenticate(ctx, token)
	}
	if got := value(t, p.kube.metrics.breaker); got != 0 {
		t.Errorf("breaker state %v, want 0 (closed)", got)
	}
}

// While the API server is away callers are told to ask again, at once once the
// breaker is open; after its return they are served within seconds.
func TestKubeWithoutAPIServer(t *testing.T) {
	p := newProving(t)
	token := Token(p.Token(p.Pod("reviews-0", "reviews", p.node.Name)))
	if err := p.api.KillAPIServer(); err != nil {
		t.Fatal(err)
	}
	defer p.serves(t)
	for range breakerTrip {
		if _, err := p.kube.Authenticate(t.Context(), token); refusal.Of(err) != refusal.KubernetesAway {
			t.Fatalf("got %v, want %s", err, refusal.KubernetesAway)
		}
	}
	if got := value(t, p.kube.metrics.breaker); got != 2 {
		t.Errorf("breaker state %v, want 2 (open)", got)
	}
	// A machine may stall for longer than breakerOpen: then one call goes through,
	// fails, and opens the breaker again for the next.
	for tries := 1; ; tries++ {
		_, err := p.kube.Authenticate(t.Context(), token)
		if refusal.Of(err) == refusal.KubernetesAway && strings.Contains(err.Error(), "gave no answer lately") {
			break
		}
		if refusal.Of(err) != refusal.KubernetesAway || tries == 5 {
			t.Fatalf("with the breaker open, call %d: %v", tries, err)
		}
	}
	if _, err := p.kube.Authenticate(t.Context(), "a.b.c"); refusal.Of(err) != refusal.TokenMalformed {
		t.Errorf("garbage: %v", err)
	}
	p.serves(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := p.kube.Authenticate(ctx, token)
		if err == nil {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not served after the API server's return: %v", err)
		}
	}
	if got := value(t, p.kube.metrics.breaker); got != 0 {
		t.Errorf("breaker state %v, want 0 (closed)", got)
	}
}

func value(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetGauge().GetValue()
}

// serves starts the API server if it is not there.
func (p *proving) serves(t *testing.T) {
	t.Helper()
	clients, err := p.api.Clientset()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clients.Discovery().ServerVersion(); err == nil {
		return
	}
	if err := p.api.StartAPIServer(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkKube is what the API server adds to a certificate: a review and a
// read for one of 1,000 pods after the other, and the processor time that they
// cost here and there.
func BenchmarkKube(b *testing.B) {
	p := newProving(b)
	tokens := make([]Token, 1000)
	for i := range tokens {
		tokens[i] = Token(p.Token(p.Pod(fmt.Sprintf("reviews-%d", i), "reviews", p.node.Name)))
	}
	for _, callers := range []int{1, 8} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			next := make(chan Token)
			done := make(chan error, callers)
			for range callers {
				go func() {
					var err error
					for token := range next {
						if _, e := p.kube.Authenticate(context.Background(), token); e != nil {
							err = e
						}
					}
					done <- err
				}()
			}
			here, there := p.cpu(b)
			n := 0
			for ; b.Loop(); n++ {
				next <- tokens[n%len(tokens)]
			}
			close(next)
			hereAfter, thereAfter := p.cpu(b)
			b.ReportMetric(float64((hereAfter-here).Microseconds())/float64(n), "cpu-us/op")
			b.ReportMetric(float64((thereAfter-there).Microseconds())/float64(n), "apiserver-cpu-us/op")
			for range callers {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

var cpuSeconds = regexp.MustCompile(`(?m)^process_cpu_seconds_total (\S+)$`)

// cpu is the processor time that this process and the API server have used.
func (p *proving) cpu(b *testing.B) (here, there time.Duration) {
	b.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	clients, err := p.api.Clientset()
	if err != nil {
		b.Fatal(err)
	}
	text, err := clients.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	found := cpuSeconds.FindSubmatch(text)
	if found == nil {
		b.Fatal("the API server does not tell its processor time")
	}
	seconds, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano()), time.Duration(seconds * float64(time.Second))
}
