package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/ca/internal/refusal"
	"github.com/weftmesh/weft/test/boundtoken"
)

// inNamespace proves pods as a CA of one namespace does.
func inNamespace(t *testing.T) *proving {
	t.Helper()
	p := newProving(t)
	var err error
	if p.kube, err = NewKubeNamespace(p.api.RESTConfig(), "cluster.local", p.Namespace, prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNamespaceProvesAPod(t *testing.T) {
	p := inNamespace(t)
	got, err := p.kube.Authenticate(t.Context(), Token(p.Token(p.Pod("reviews-0", "reviews", p.node.Name))))
	if err != nil || got.ID.String() != "spiffe://cluster.local/ns/"+p.Namespace+"/sa/reviews" || got.Pod.Name != "reviews-0" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Without a review a CA refuses what it refuses with one.
func TestNamespaceRefuses(t *testing.T) { inNamespace(t).refuses(t) }

// What a review would have said of the signature, and of the account.
func TestNamespaceRefusesWhatNoReviewSees(t *testing.T) {
	p := inNamespace(t)
	good := p.Token(p.Pod("reviews-0", "reviews", p.node.Name))
	s := boundtoken.NewSigner(t, filepath.Join(filepath.Dir(p.api.Kubeconfig()), "pki", "sa.key"), good)
	other := newProving(t) // another namespace
	p.Account("short")
	gone := p.Token(p.Pod("short-0", "short", p.node.Name))
	clients, err := p.api.Clientset()
	if err == nil {
		err = clients.CoreV1().ServiceAccounts(p.Namespace).Delete(t.Context(), "short", metav1.DeleteOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	for name, token := range map[string]string{
		"another namespace's": other.Token(other.Pod("reviews-0", "reviews", other.node.Name)),
		"another issuer's":    s.Forge(good, func(c jwt.MapClaims) { c["iss"] = "https://elsewhere" }),
		"another subject":     s.Forge(good, func(c jwt.MapClaims) { c["sub"] = "system:serviceaccount:" + p.Namespace + ":ratings" }),
		"another account":     s.Forge(good, func(c jwt.MapClaims) { bound(c)["serviceaccount"].(map[string]any)["uid"] = "1" }),
		"a deleted account's": gone,
		"altered":             parts[0] + "." + strings.ToUpper(parts[1][:8]) + parts[1][8:] + "." + parts[2],
		"unsigned":            unsigned(t, good),
	} {
		caller, err := p.kube.prove(t.Context(), Token(token))
		if why := refusal.Of(err); why == "" || why == refusal.KubernetesAway || why == refusal.Internal || caller != (Caller{}) {
			t.Errorf("%s: got %+v, %v", name, caller, err)
		}
	}
}

// unsigned is a token whose header says that it needs no signature.
func unsigned(t *testing.T, token string) string {
	t.Helper()
	var claims jwt.MapClaims
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil {
		t.Fatal(err)
	}
	out, err := jwt.NewWithClaims(jwt.SigningMethodNone, claims).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWeakKeys(t *testing.T) {
	for name, text := range map[string]string{
		"short RSA":           `{"kty": "RSA", "n": "` + strings.Repeat("A", 171) + `", "e": "AQAB"}`,
		"point off its curve": `{"kty": "EC", "crv": "P-256", "x": "` + strings.Repeat("A", 43) + `", "y": "` + strings.Repeat("A", 43) + `"}`,
		"unknown curve":       `{"kty": "EC", "crv": "P-224", "x": "AA", "y": "AA"}`,
		"symmetric":           `{"kty": "oct", "k": "AA"}`,
	} {
		var k jwk
		if err := json.Unmarshal([]byte(text), &k); err != nil {
			t.Fatal(err)
		}
		if key, err := k.public(); err == nil {
			t.Errorf("%s: %v", name, key)
		}
	}
}

// TestKeysChangeUnderWay: a token is held against the issuer that came with its
// key, while others read keys and issuer anew. (The race detector looks on.)
func TestKeysChangeUnderWay(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &issuerKeys{namespace: "shop"}
	read := func(issuer, kid string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.issuer, s.keys, s.read = issuer, map[string]crypto.PublicKey{kid: &private.PublicKey}, time.Now()
	}
	read("https://old", "old")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			read("https://new", "new")
			read("https://old", "old")
		}
	}()
	defer func() { stop(); <-ended }()
	for range 200 {
		token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": "https://new", "aud": Audience, "exp": past(-time.Hour)})
		token.Header["kid"] = "old" // a key that never was the new issuer's
		text, err := token.SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := s.verify(t.Context(), Token(text)); refusal.Of(err) != refusal.TokenDenied {
			t.Fatalf("got %+v, %v", b, err)
		}
	}
}
