package identity

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/apis"
	"github.com/weftmesh/weft/ca/internal/refusal"
	"github.com/weftmesh/weft/internal/spiffe"
)

// outside makes WorkloadEntries, their Secrets and tokens.
type outside struct {
	*proving
	t       *testing.T
	clients *kubernetes.Clientset
}

func newOutside(t *testing.T, p *proving) *outside {
	t.Helper()
	crds, err := apis.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.api.Apply(t.Context(), string(crds["networking.istio.io_workloadentries.yaml"])); err != nil {
		t.Fatal(err)
	}
	o := &outside{proving: p, t: t}
	if o.clients, err = p.api.Clientset(); err != nil {
		t.Fatal(err)
	}
	return o
}

// entry makes one of an account, and returns its UID.
func (o *outside) entry(name, account string) string {
	o.t.Helper()
	text := fmt.Sprintf(`{apiVersion: networking.istio.io/v1, kind: WorkloadEntry,
 metadata: {name: %s, namespace: %s, annotations: {istio.io/autoRegistrationGroup: legacy}},
 spec: {address: 192.0.2.7, serviceAccount: %q, labels: {app: carts, version: v2}}}`, name, o.Namespace, account)
	end := time.After(time.Minute)
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		err := o.api.Apply(o.t.Context(), text)
		if err == nil {
			break
		}
		select {
		case <-end: // the API server has made the kind known by then
			o.t.Fatal(err)
		default:
		}
	}
	raw, err := o.clients.Discovery().RESTClient().Get().AbsPath(fmt.Sprintf(entryPath, o.Namespace, name)).DoRaw(o.t.Context())
	var e entry
	if err == nil {
		err = json.Unmarshal(raw, &e)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	return string(e.UID)
}

func (o *outside) remove(name string) {
	o.t.Helper()
	if err := o.clients.Discovery().RESTClient().Delete().AbsPath(fmt.Sprintf(entryPath, o.Namespace, name)).Do(o.t.Context()).Error(); err != nil {
		o.t.Fatal(err)
	}
}

// token is bound to a Secret of that name, which is made.
func (o *outside) token(secret, account string) Token {
	o.t.Helper()
	made, err := o.clients.CoreV1().Secrets(o.Namespace).Create(o.t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}}, metav1.CreateOptions{})
	if err != nil {
		o.t.Fatal(err)
	}
	return Token(o.Request(account, authenticationv1.TokenRequestSpec{
		Audiences:      []string{Audience},
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: secret, UID: made.UID},
	}))
}

func (o *outside) refuses(what string, token Token, want ...refusal.Reason) {
	o.t.Helper()
	caller, err := o.kube.Authenticate(o.t.Context(), token)
	got := refusal.Of(err)
	for _, w := range want {
		if got == w && caller == (Caller{}) {
			return
		}
	}
	o.t.Errorf("%s: got %+v, %v; want %v", what, caller, err, want)
}

func TestKubeProvesAProcessOutside(t *testing.T) { newOutside(t, newProving(t)).prove(t) }

func TestNamespaceProvesAProcessOutside(t *testing.T) { newOutside(t, inNamespace(t)).prove(t) }

func (o *outside) prove(t *testing.T) {
	t.Helper()
	uid := o.entry("carts-1", "reviews")
	token := o.token("carts-1."+uid, "reviews")
	got, err := o.kube.Authenticate(t.Context(), token)
	want := Caller{
		ID:       spiffe.ID{TrustDomain: "cluster.local", Namespace: o.Namespace, ServiceAccount: "reviews"},
		Workload: "legacy", App: "carts", Version: "v2", Pod: Pod{Name: "carts-1", UID: uid},
	}
	if err != nil || got != want {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
	o.Account("ratings")
	o.refuses("an account that is not the entry's", o.token("carts-1.x."+uid, "ratings"), refusal.PodGone)
	other := o.entry("other", "ratings")
	o.refuses("an entry of another account", o.token("other."+other, "reviews"), refusal.PodMismatch)
	o.refuses("a Secret without an entry", o.token("credentials", "reviews"), refusal.TokenUnbound)
	o.refuses("an entry that never was", o.token("none."+uid, "reviews"), refusal.PodGone)
	o.refuses("an entry of another UID", o.token("carts-1."+other, "reviews"), refusal.PodGone)
	o.remove("carts-1")
	o.refuses("an entry that is gone", token, refusal.PodGone)
	o.entry("carts-1", "reviews")
	o.refuses("an entry whose name another one has", token, refusal.PodGone)
}

// Without its Secret the API server itself denies a token, as soon as its own
// watch has told it that the Secret is gone.
func TestKubeDeniesATokenWithoutItsSecret(t *testing.T) {
	o := newOutside(t, newProving(t))
	uid := o.entry("carts-1", "reviews")
	token := o.token("carts-1."+uid, "reviews")
	if err := o.clients.CoreV1().Secrets(o.Namespace).Delete(t.Context(), "carts-1."+uid, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	end := time.After(time.Minute)
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		if _, err := o.kube.Authenticate(t.Context(), token); err != nil {
			break
		}
		select {
		case <-end:
			t.Fatal("the token is still accepted a minute after its Secret was deleted")
		default:
		}
	}
	o.refuses("a token whose Secret is gone", token, refusal.TokenDenied)
}
