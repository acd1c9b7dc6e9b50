package cluster

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/ca/internal/store"
	"github.com/weftmesh/weft/test/boundtoken"
	"github.com/weftmesh/weft/test/cluster"
	"github.com/weftmesh/weft/test/plugca"
)

const deadline = 2 * time.Minute

// fixture is a real API server and a system namespace of one test.
type fixture struct {
	t         *testing.T
	server    *cluster.API
	api       kubernetes.Interface
	namespace string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	server := cluster.APIServer(t)
	api, err := server.Clientset()
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{t: t, server: server, api: api, namespace: boundtoken.New(t, api, "weft-system").Namespace}
}

// replica is one CA's Cluster.
func (f *fixture) replica(name string) *Cluster {
	f.t.Helper()
	c, err := New(f.server.RESTConfig(), Options{
		Namespace: f.namespace, TrustDomain: "cluster.local", Replica: name, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fixture) open(c *Cluster) *store.Authority {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), deadline)
	defer cancel()
	a, err := c.Open(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

// run runs f until the test ends or stop is called.
func (f *fixture) run(do func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { _ = do(ctx) })
	stop = func() { cancel(); done.Wait() }
	f.t.Cleanup(stop)
	return stop
}

func (f *fixture) within(limit time.Duration, what string, is func() bool) {
	f.t.Helper()
	end := time.After(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-end:
			f.t.Fatalf("not within %v: %s", limit, what)
		case <-tick.C:
		}
	}
}

// put writes a Secret of the system namespace.
func (f *fixture) put(name string, data map[string][]byte) {
	f.t.Helper()
	secrets, s := f.api.CoreV1().Secrets(f.namespace), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
	_, err := secrets.Create(f.t.Context(), s, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		var now *corev1.Secret
		if now, err = secrets.Get(f.t.Context(), name, metav1.GetOptions{}); err == nil {
			now.Data = data
			_, err = secrets.Update(f.t.Context(), now, metav1.UpdateOptions{})
		}
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) remove(name string) {
	f.t.Helper()
	if err := f.api.CoreV1().Secrets(f.namespace).Delete(f.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		f.t.Fatal(err)
	}
}

// plugin is a CA as a user plugs it in.
func plugin(t *testing.T, kind plugca.Kind) store.Parts { return plugca.New(t, kind) }

// Replicas that start at once hold one key.
func TestReplicasAgree(t *testing.T) {
	f := newFixture(t)
	got := make([]*store.Authority, 4)
	var all sync.WaitGroup
	for i := range got {
		c := f.replica(fmt.Sprint("ca-", i))
		all.Go(func() {
			var err error
			if got[i], err = c.Open(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, a := range got {
		if a == nil || !a.Chain[0].Equal(got[0].Chain[0]) {
			t.Fatalf("replicas hold different keys: %v", got)
		}
	}
	secret, err := f.api.CoreV1().Secrets(f.namespace).Get(t.Context(), SelfMade, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{store.CertFile, store.KeyFile, store.ChainFile, store.RootFile} {
		if len(secret.Data[key]) == 0 {
			t.Errorf("no key %s in the Secret", key)
		}
	}
	if secret.Type != selfMadeType {
		t.Errorf("type %q", secret.Type)
	}
}

// Istio's own Secret leaves the chain and the root empty.
func TestSecretOfIstio(t *testing.T) {
	f := newFixture(t)
	made, err := store.Make("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	f.put(SelfMade, map[string][]byte{store.CertFile: made[store.CertFile], store.KeyFile: made[store.KeyFile], store.ChainFile: {}, "key.pem": {}})
	if a := f.open(f.replica("a")); !bytes.Equal(a.RootPEM, made[store.RootFile]) {
		t.Errorf("root %s", a.RootPEM)
	}
}

func TestPluggedInSecretThatIsBad(t *testing.T) {
	good, other := plugin(t, plugca.EC), plugin(t, plugca.EC)
	for name, tc := range map[string]struct {
		change func(store.Parts)
		want   string
	}{
		"empty":        {func(p store.Parts) { clear(p) }, store.KeyFile},
		"no root":      {func(p store.Parts) { delete(p, store.RootFile) }, store.RootFile},
		"no PEM":       {func(p store.Parts) { p[store.CertFile] = []byte("hello") }, store.CertFile},
		"foreign key":  {func(p store.Parts) { p[store.KeyFile] = other[store.KeyFile] }, store.KeyFile},
		"foreign root": {func(p store.Parts) { p[store.RootFile] = other[store.RootFile] }, store.RootFile},
		"key as chain": {func(p store.Parts) { p[store.ChainFile] = p[store.KeyFile] }, store.ChainFile},
		"encrypted key": {func(p store.Parts) {
			p[store.KeyFile] = []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
		}, store.KeyFile},
	} {
		t.Run(name, func(t *testing.T) {
			f, parts := newFixture(t), store.Parts{}
			for k, v := range good {
				parts[k] = v
			}
			tc.change(parts)
			f.put(PluggedIn, parts)
			_, err := f.replica("a").Open(t.Context())
			if err == nil || !strings.Contains(err.Error(), "Secret "+f.namespace+"/cacerts") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one that names the Secret and %s", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "PRIVATE KEY") {
				t.Error("the error quotes a key")
			}
		})
	}
}

// following is a replica that follows its Secrets and tells what it used.
func (f *fixture) following(c *Cluster) <-chan *store.Authority {
	used := make(chan *store.Authority, 10)
	f.run(func(ctx context.Context) error {
		return c.Follow(ctx, func(a *store.Authority) error { used <- a; return nil })
	})
	return used
}

func (f *fixture) next(used <-chan *store.Authority) *store.Authority {
	f.t.Helper()
	select {
	case a := <-used:
		return a
	case <-time.After(deadline):
		f.t.Fatal("no new signing key")
		return nil
	}
}

func (f *fixture) stale(c *Cluster) bool {
	f.t.Helper()
	var out dto.Metric
	if err := c.metrics.stale.Write(&out); err != nil {
		f.t.Fatal(err)
	}
	return out.GetGauge().GetValue() == 1
}

// A plug-in takes the place of the self-made key when it comes; one that turns
// bad, or goes, leaves the last good one in force.
func TestPlugInSwap(t *testing.T) {
	f := newFixture(t)
	c := f.replica("a")
	self := f.open(c)
	used := f.following(c)
	first, second := plugin(t, plugca.RSA), plugin(t, plugca.EC)
	f.put(PluggedIn, first)
	a := f.next(used)
	if !bytes.Equal(a.RootPEM, first[store.RootFile]) || len(a.Chain) != 1 {
		t.Errorf("in force: %v with %d certificates", a, len(a.Chain))
	}
	f.put(PluggedIn, map[string][]byte{store.KeyFile: []byte("x")})
	f.within(deadline, "the bad Secret shows in the metric", func() bool { return f.stale(c) })
	f.put(PluggedIn, second)
	if a := f.next(used); !bytes.Equal(a.RootPEM, second[store.RootFile]) {
		t.Errorf("in force: %v", a)
	}
	f.within(deadline, "the metric is 0 again", func() bool { return !f.stale(c) })
	f.remove(PluggedIn)
	f.within(deadline, "the missing Secret shows in the metric", func() bool { return f.stale(c) })
	f.put(PluggedIn, second)
	f.within(deadline, "the metric is 0 again", func() bool { return !f.stale(c) })
	select {
	case a := <-used:
		t.Errorf("used once more: %v", a)
	default:
	}
	if bytes.Equal(c.current().authority.RootPEM, self.RootPEM) {
		t.Error("the self-made root came back")
	}
}

func TestDeletedKeyIsWrittenAgain(t *testing.T) {
	f := newFixture(t)
	c := f.replica("a")
	before := f.open(c)
	f.following(c)
	f.remove(SelfMade)
	f.within(deadline, "the Secret is back", func() bool {
		_, err := f.api.CoreV1().Secrets(f.namespace).Get(t.Context(), SelfMade, metav1.GetOptions{})
		return err == nil
	})
	if after := f.open(f.replica("b")); !after.Chain[0].Equal(before.Chain[0]) {
		t.Error("another key than before")
	}
}
