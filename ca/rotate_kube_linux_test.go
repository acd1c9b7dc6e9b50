package ca

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weftmesh/weft/ca/internal/cluster"
	"github.com/weftmesh/weft/ca/internal/store"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/spiffe"
	"github.com/weftmesh/weft/test/plugca"
)

// rotating are options for a rotation that does not take minutes.
func (m *kubeMesh) rotating(replica string) Options {
	o := m.options(replica)
	o.ReportEvery, o.inFlight, o.fence = time.Second, 3*time.Second, 10*time.Second
	return o
}

// kubeCrowd are pods that reach the CA's replicas in turn, and whose roots follow
// the ConfigMap, as a kubelet has them do.
func (m *kubeMesh) kubeCrowd(address func() string, n int) *crowd {
	m.t.Helper()
	c := &crowd{mesh: m.mesh, id: idOf(m.shop, "reviews")}
	m.follow()
	for i := range n {
		pod := m.shop.Pod(fmt.Sprint("reviews-", i), "reviews", m.node.Name)
		client, roots := m.asPod(address, fmt.Sprint("token-", i), m.shop.Token(pod))
		c.peers = append(c.peers, c.run(client, roots))
	}
	return c
}

func (m *kubeMesh) asPod(address func() string, file, token string) (*enroll.Client, *enroll.Roots) {
	m.t.Helper()
	roots, err := enroll.RootsFile(m.path("root.pem"))
	if err != nil {
		m.t.Fatal(err)
	}
	client, err := enroll.NewClient(enroll.ClientOptions{
		Address: "ca.test:15012", CA: spiffe.ID{TrustDomain: "cluster.local", Namespace: m.system.Namespace, ServiceAccount: "weft-ca"},
		Identity: idOf(m.shop, "reviews"), Roots: roots, TokenFile: m.write(file, []byte(token)), Dial: dialer(address),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return client, roots
}

// follow writes root.pem anew whenever the ConfigMap has changed.
func (m *kubeMesh) follow() {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	m.t.Cleanup(func() { cancel(); done.Wait() })
	done.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for last := ""; ctx.Err() == nil; {
			found, err := m.api.CoreV1().ConfigMaps(m.shop.Namespace).Get(ctx, cluster.RootConfigMap, metav1.GetOptions{})
			if text := found.Data[cluster.RootKey]; err == nil && text != "" && text != last {
				if err := os.WriteFile(m.path("root.new"), []byte(text), 0o600); err == nil && os.Rename(m.path("root.new"), m.path("root.pem")) == nil {
					last = text
				}
			}
			<-tick.C
		}
	})
}

// among waits for one of replicas to be in a stage, by whichever moves it on.
func (m *kubeMesh) among(stage string, replicas ...*running) (leads, follows *running) {
	m.t.Helper()
	end := time.After(5 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var all []RotationStatus
		for i, r := range replicas {
			s := m.rotation(r)
			if s.Stage == stage && s.Drives {
				return r, replicas[(i+1)%len(replicas)]
			}
			all = append(all, s)
		}
		select {
		case <-end:
			m.t.Fatalf("not in %s: %+v\n%s", stage, all, &m.logs)
		case <-tick.C:
		}
	}
}

// TestKubeRotation: the replicas take their mesh from one root to the next, while
// the one that drives it is replaced, another died before it began, a pod goes
// without a word, and somebody plugs in a CA that is half written.
func TestKubeRotation(t *testing.T) {
	m := newKubeMesh(t)
	a, b := m.startKube(m.rotating("a")), m.startKube(m.rotating("b"))
	s := &balancer{}
	s.set(a, b)
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() { s.watch(ctx) })
	within(t, "both are ready", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.ready) == 2 })
	c := m.kubeCrowd(s.address, 6)
	silent := m.shop.Pod("silent", "reviews", m.node.Name)
	client, _ := m.asPod(at(a), "token-silent", m.shop.Token(silent))
	if _, err := issueOne(t, client); err != nil {
		t.Fatal(err)
	}
	m.board("ghost", `{"of":"1","instance":"1","beat":7,"waits":3}`)
	m.mark("kept")
	first := m.rotation(a).Roots[0].Fingerprint
	leads, follows := m.among("None", a, b)
	stop := c.call(2)
	within(t, "it begins", func() bool { return m.do(follows, "begin") == nil }) // the mark has been read
	if err := m.do(leads, "begin"); err == nil {
		t.Error("two rotations at once")
	}
	within(t, "the silent pod is waited for", func() bool { return strings.Contains(fmt.Sprintf("%+v", m.rotation(a).Waiting), "silent") })
	m.halfPluggedIn(a, b)
	m.shop.Delete(silent)
	leads, follows = m.among("Issue", a, b)
	m.halfPluggedIn(a, b)
	third := m.startKube(m.rotating("c"))
	s.set(third, follows)
	if err := leads.stop(); err != nil {
		t.Error(err)
	}
	m.among("Dropped", third, follows)
	stop()
	for _, err := range c.failed {
		t.Errorf("of %d handshakes: %v", c.calls.Load(), err)
	}
	t.Logf("%d handshakes", c.calls.Load())
	for _, r := range []*running{third, follows} {
		within(t, "both have the new root alone", func() bool {
			roots := m.rotation(r).Roots
			return len(roots) == 1 && roots[0].Fingerprint != first
		})
	}
	m.settled()
}

// halfPluggedIn writes a Secret cacerts whose key is cut off, waits until replicas
// have refused it, and takes it away.
func (m *kubeMesh) halfPluggedIn(replicas ...*running) {
	m.t.Helper()
	parts := plugca.New(m.t, plugca.EC)
	parts[store.KeyFile] = parts[store.KeyFile][:len(parts[store.KeyFile])/2]
	secrets := m.api.CoreV1().Secrets(m.system.Namespace)
	_, err := secrets.Create(m.t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: cluster.PluggedIn}, Data: parts}, metav1.CreateOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, r := range replicas {
		within(m.t, "it is refused", func() bool { return m.metric(r, "weft_ca_secret_rejected") == 1 })
	}
	if err := secrets.Delete(m.t.Context(), cluster.PluggedIn, metav1.DeleteOptions{}); err != nil {
		m.t.Fatal(err)
	}
	for _, r := range replicas {
		within(m.t, "their own key is in force", func() bool { return m.metric(r, "weft_ca_secret_rejected") == 0 })
	}
}

// settled: nothing of a rotation is left behind.
func (m *kubeMesh) settled() {
	m.t.Helper()
	within(m.t, "the replicas have nothing more to tell one another", func() bool {
		found, err := m.api.CoreV1().ConfigMaps(m.system.Namespace).Get(m.t.Context(), cluster.BoardConfigMap, metav1.GetOptions{})
		return err == nil && len(found.Data) == 0
	})
	secret, err := m.api.CoreV1().Secrets(m.system.Namespace).Get(m.t.Context(), cluster.SelfMade, metav1.GetOptions{})
	if err != nil || strings.Contains(string(secret.Data[store.RotationFile]), "PRIVATE KEY") {
		m.t.Fatalf("the old root's key is still kept, or %v", err)
	}
	if string(secret.Data["kept"]) != "theirs" {
		m.t.Error("a key of the Secret that is not ours is gone")
	}
}

// mark puts a key that is not the CA's into its Secret.
func (m *kubeMesh) mark(key string) {
	m.t.Helper()
	_, err := m.api.CoreV1().Secrets(m.system.Namespace).Patch(m.t.Context(), cluster.SelfMade, types.MergePatchType,
		fmt.Appendf(nil, `{"stringData": {%q: "theirs"}}`, key), metav1.PatchOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
}

// board puts down what a replica told.
func (m *kubeMesh) board(replica, text string) {
	m.t.Helper()
	_, err := m.api.CoreV1().ConfigMaps(m.system.Namespace).Create(m.t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: cluster.BoardConfigMap}, Data: map[string]string{replica: text},
	}, metav1.CreateOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
}

// TestKubeRotationOfThePluggedIn: a root that somebody plugged in is theirs.
func TestKubeRotationOfThePluggedIn(t *testing.T) {
	m := newKubeMesh(t)
	_, err := m.api.CoreV1().Secrets(m.system.Namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: cluster.PluggedIn}, Data: plugca.New(t, plugca.EC),
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := m.startKube(m.rotating("a"))
	if err := m.do(r, "begin"); err == nil || !strings.Contains(err.Error(), "cacerts") {
		t.Errorf("a plugged-in root is rotated: %v", err)
	}
}
