package pilot_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

const liveTokens = `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  jwtRules: [{issuer: shop, jwksUri: %q}]
`

// TestKeysFetched follows keys from their server through the pilot to an Envoy:
// none at the start, the first, others after a rotation, and none again.
// Source: issue 6, "tokens"; istio.io/api security/v1beta1, JWTRule.jwksUri.
func TestKeysFetched(t *testing.T) {
	var keys atomic.Pointer[string] // nil: 404
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if text := keys.Load(); text != nil {
			_, _ = fmt.Fprint(w, *text)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	defer srv.Close()
	oneKeys, one := signer(t)
	twoKeys, two := signer(t)
	l := startLive(t)
	l.write("route.yaml", fmt.Sprintf(liveRoute, 100, 0))
	l.write("tokens.yaml", fmt.Sprintf(liveTokens, srv.URL))
	l.startEnvoy()
	answers := func(token string, want int) {
		t.Helper()
		eventually(t, fmt.Sprintf("status %d", want), func() bool { return l.status(token) == want })
	}
	answers("", 200)
	answers(one, 401)
	keys.Store(&oneKeys)
	answers(one, 200)
	if got := l.status(two); got != 401 {
		t.Errorf("a token of a foreign key: %d", got)
	}
	keys.Store(&twoKeys)
	answers(two, 200)
	answers(one, 401)
	keys.Store(nil)
	before := asked.Load()
	eventually(t, "fetches that fail", func() bool { return asked.Load() > before+1 })
	if got := l.status(two); got != 200 {
		t.Errorf("a token of the keys that were good last: %d", got)
	}
	if got := l.status(one); got != 401 {
		t.Errorf("a token of the keys before them: %d", got)
	}
}

// signer makes a key set and a token that it verifies.
func signer(t *testing.T) (keys, token string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString
	token = text([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + text([]byte(`{"iss":"shop","sub":"alice","exp":4102444800}`))
	digest := sha256.Sum256([]byte(token))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","x":%q,"y":%q}]}`, text(point[1:33]), text(point[33:])), token + "." + text(signature)
}

// status is that of a request with a token, or 0.
func (l *live) status(token string) int {
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", l.port), nil)
	if err != nil {
		l.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
