package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/weftmesh/weft/ca/internal/refusal"
	"github.com/weftmesh/weft/internal/spiffe"
)

// supervisor signs tokens and has its public key in a file.
type supervisor struct {
	key   *ecdsa.PrivateKey
	file  string
	local *Local
}

func newSupervisor(t testing.TB) *supervisor {
	t.Helper()
	s := &supervisor{file: filepath.Join(t.TempDir(), "identity.pem")}
	s.newKey(t)
	local, err := NewLocal(s.file, "cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	s.local = local
	return s
}

// newKey makes another key and writes its public part to the file.
func (s *supervisor) newKey(t testing.TB) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.key = key
	if err := os.WriteFile(s.file, s.publicPEM(t), 0o600); err != nil {
		t.Fatal(err)
	}
	// A key written within the clock's tick of the last one must be seen too.
	old := time.Now().Add(-time.Duration(key.X.Uint64()%1e6) * time.Second)
	if err := os.Chtimes(s.file, old, old); err != nil {
		t.Fatal(err)
	}
}

func (s *supervisor) publicPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func goodClaims() jwt.MapClaims {
	now := time.Now()
	return jwt.MapClaims{
		"iss": "weft-local", "aud": []string{"istio-ca"}, "sub": "system:serviceaccount:shop:reviews",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{
			"namespace": "shop", "pod": map[string]any{"name": "reviews-v1-0", "uid": "u-1"},
			"serviceaccount": map[string]any{"name": "reviews", "uid": "u-2"},
		},
		"weft.mesh": map[string]any{"workload": "reviews-v1", "app": "reviews", "version": "v1"},
	}
}

func sign(t testing.TB, method jwt.SigningMethod, key any, claims jwt.Claims) Token {
	t.Helper()
	text, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return Token(text)
}

func TestLocal(t *testing.T) {
	s := newSupervisor(t)
	got, err := s.local.Authenticate(context.Background(), sign(t, jwt.SigningMethodES256, s.key, goodClaims()))
	if err != nil {
		t.Fatal(err)
	}
	want := Caller{
		ID:       spiffe.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "reviews"},
		Workload: "reviews-v1", App: "reviews", Version: "v1", Pod: Pod{Name: "reviews-v1-0", UID: "u-1"},
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A supervisor that starts anew has a new key; tokens of the old one end.
func TestLocalFollowsTheKeyFile(t *testing.T) {
	s := newSupervisor(t)
	old := sign(t, jwt.SigningMethodES256, s.key, goodClaims())
	s.newKey(t)
	if _, err := s.local.Authenticate(context.Background(), sign(t, jwt.SigningMethodES256, s.key, goodClaims())); err != nil {
		t.Errorf("token of the new key: %v", err)
	}
	_, err := s.local.Authenticate(context.Background(), old)
	wantReason(t, err, refusal.TokenSignature)
	if err := os.WriteFile(s.file, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.local.Authenticate(context.Background(), sign(t, jwt.SigningMethodES256, s.key, goodClaims())); err != nil {
		t.Errorf("with a broken file the last good key should hold: %v", err)
	}
}

func wantReason(t *testing.T, err error, want refusal.Reason) {
	t.Helper()
	if got := refusal.Of(err); got != want {
		t.Errorf("refused for %q (%v), want %q", got, err, want)
	}
}

// hostileClaims change one thing in a good token.
var hostileClaims = map[string]struct {
	change func(jwt.MapClaims)
	want   refusal.Reason
}{
	"expired":            {func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Minute).Unix() }, refusal.TokenExpired},
	"without end":        {func(c jwt.MapClaims) { delete(c, "exp") }, refusal.TokenClaims},
	"not yet valid":      {func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Hour).Unix() }, refusal.TokenNotYetValid},
	"issued later":       {func(c jwt.MapClaims) { c["iat"] = time.Now().Add(time.Hour).Unix() }, refusal.TokenNotYetValid},
	"other audience":     {func(c jwt.MapClaims) { c["aud"] = []string{"kubernetes"} }, refusal.TokenAudience},
	"no audience":        {func(c jwt.MapClaims) { delete(c, "aud") }, refusal.TokenClaims},
	"other issuer":       {func(c jwt.MapClaims) { c["iss"] = "kubernetes/serviceaccount" }, refusal.TokenIssuer},
	"end is text":        {func(c jwt.MapClaims) { c["exp"] = "tomorrow" }, refusal.TokenMalformed},
	"end is huge":        {func(c jwt.MapClaims) { c["exp"] = json.RawMessage("1e400") }, refusal.TokenMalformed},
	"end wraps around":   {func(c jwt.MapClaims) { c["exp"] = json.RawMessage("-1e300") }, refusal.TokenExpired},
	"other subject":      {func(c jwt.MapClaims) { c["sub"] = "system:serviceaccount:shop:admin" }, refusal.TokenClaims},
	"subject of a user":  {func(c jwt.MapClaims) { c["sub"] = "reviews" }, refusal.TokenClaims},
	"nothing kubernetes": {func(c jwt.MapClaims) { delete(c, "kubernetes.io") }, refusal.TokenClaims},
	"no pod":             {func(c jwt.MapClaims) { delete(boundTo(c), "pod") }, refusal.TokenClaims},
	"bad namespace":      {func(c jwt.MapClaims) { boundTo(c)["namespace"] = "shop/sa/x" }, refusal.TokenClaims},
	"forged label":       {func(c jwt.MapClaims) { mesh(c)["workload"] = "x,OU=ns:admin" }, refusal.TokenClaims},
	"newline in a label": {func(c jwt.MapClaims) { mesh(c)["app"] = "a\nb" }, refusal.TokenClaims},
	"long label":         {func(c jwt.MapClaims) { mesh(c)["version"] = strings.Repeat("v", 64) }, refusal.TokenClaims},
	"labels are numbers": {func(c jwt.MapClaims) { mesh(c)["version"] = 1 }, refusal.TokenMalformed},
}

func boundTo(c jwt.MapClaims) map[string]any { return c["kubernetes.io"].(map[string]any) }
func mesh(c jwt.MapClaims) map[string]any    { return c["weft.mesh"].(map[string]any) }

func TestHostileClaims(t *testing.T) {
	s := newSupervisor(t)
	for name, c := range hostileClaims {
		t.Run(name, func(t *testing.T) {
			claims := goodClaims()
			c.change(claims)
			caller, err := s.local.Authenticate(context.Background(), sign(t, jwt.SigningMethodES256, s.key, claims))
			wantReason(t, err, c.want)
			if caller != (Caller{}) {
				t.Errorf("a caller came with the refusal: %+v", caller)
			}
		})
	}
}

func TestHostileTokens(t *testing.T) {
	s := newSupervisor(t)
	stranger := newSupervisor(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	good := sign(t, jwt.SigningMethodES256, s.key, goodClaims())
	parts := strings.Split(string(good), ".")
	for name, c := range map[string]struct {
		token Token
		want  refusal.Reason
	}{
		"empty":                    {"", refusal.TokenMissing},
		"garbage":                  {"\x00\x01garbage", refusal.TokenMalformed},
		"huge":                     {Token(strings.Repeat("a", maxToken+1)), refusal.TokenOversized},
		"dots":                     {Token(strings.Repeat(".", maxToken)), refusal.TokenMalformed},
		"four parts":               {good + ".x", refusal.TokenMalformed},
		"no signature":             {Token(parts[0] + "." + parts[1] + "."), refusal.TokenSignature},
		"other payload":            {Token(parts[0] + "." + otherPayload(t) + "." + parts[2]), refusal.TokenSignature},
		"zero signature":           {Token(parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64))), refusal.TokenSignature},
		"padded base64":            {good + "==", refusal.TokenMalformed},
		"other key":                {sign(t, jwt.SigningMethodES256, stranger.key, goodClaims()), refusal.TokenSignature},
		"algorithm none":           {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, goodClaims()), refusal.TokenAlgorithm},
		"public PEM as HMAC key":   {sign(t, jwt.SigningMethodHS256, s.publicPEM(t), goodClaims()), refusal.TokenAlgorithm},
		"public DER as HMAC key":   {sign(t, jwt.SigningMethodHS256, der, goodClaims()), refusal.TokenAlgorithm},
		"RSA":                      {sign(t, jwt.SigningMethodRS256, rsaKey, goodClaims()), refusal.TokenAlgorithm},
		"ES384":                    {sign(t, jwt.SigningMethodES384, p384, goodClaims()), refusal.TokenAlgorithm},
		"unknown algorithm":        {Token(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"XX"}`)) + "." + parts[1] + "." + parts[2]), refusal.TokenAlgorithm},
		"header without algorithm": {Token(base64.RawURLEncoding.EncodeToString([]byte(`{}`)) + "." + parts[1] + "." + parts[2]), refusal.TokenAlgorithm},
		"header with a key inside": {withOwnKey(t, stranger), refusal.TokenSignature},
	} {
		t.Run(name, func(t *testing.T) {
			caller, err := s.local.Authenticate(context.Background(), c.token)
			wantReason(t, err, c.want)
			if caller != (Caller{}) {
				t.Errorf("a caller came with the refusal: %+v", caller)
			}
			if len(c.token) > 20 && err != nil && strings.Contains(err.Error(), string(c.token[:20])) {
				t.Errorf("the refusal quotes the token: %v", err)
			}
		})
	}
}

// otherPayload is the payload of a token for another account.
func otherPayload(t *testing.T) string {
	claims := goodClaims()
	claims["sub"] = "system:serviceaccount:shop:admin"
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// withOwnKey is a token of stranger that names the key to check it with.
func withOwnKey(t *testing.T, stranger *supervisor) Token {
	token := jwt.NewWithClaims(jwt.SigningMethodES256, goodClaims())
	token.Header["jwk"] = map[string]string{"kty": "EC", "crv": "P-256"}
	text, err := token.SignedString(stranger.key)
	if err != nil {
		t.Fatal(err)
	}
	return Token(text)
}

func TestBearer(t *testing.T) {
	if got, err := Bearer([]string{"Bearer abc"}); err != nil || got != "abc" {
		t.Errorf("got %q, %v", string(got), err)
	}
	for _, c := range []struct {
		values []string
		want   refusal.Reason
	}{
		{nil, refusal.TokenMissing},
		{[]string{"Bearer a", "Bearer b"}, refusal.TokenMissing},
		{[]string{"Basic YTpi"}, refusal.TokenMissing},
		{[]string{"Bearer "}, refusal.TokenMissing},
		{[]string{"Bearer " + strings.Repeat("a", maxToken+1)}, refusal.TokenOversized},
	} {
		_, err := Bearer(c.values)
		wantReason(t, err, c.want)
	}
}

func TestTokenDoesNotPrint(t *testing.T) {
	for _, verb := range []string{"%v", "%s", "%q", "%x", "%+v", "%#v", "%d"} {
		if got := fmt.Sprintf(verb, Token("very secret")); got != redacted {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func TestKeyFilesThatCannotWork(t *testing.T) {
	s := newSupervisor(t)
	good := string(s.publicPEM(t))
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wide := string((&supervisor{key: p384}).publicPEM(t))
	for name, text := range map[string]string{
		"empty": "", "text": "hello", "P-384": wide, "one good, one not": good + wide,
		"private": strings.ReplaceAll(good, "PUBLIC KEY", "PRIVATE KEY"), "cut": good[:60] + good[80:],
	} {
		if _, err := parseKeys([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if keys, err := parseKeys([]byte(good + "\n" + good)); err != nil || len(keys.Keys) != 2 {
		t.Errorf("two keys: got %d, %v", len(keys.Keys), err)
	}
	if _, err := NewLocal(filepath.Join(t.TempDir(), "missing"), "cluster.local"); err == nil {
		t.Error("a missing file gives no error")
	}
}

func FuzzLocal(f *testing.F) {
	s := newSupervisor(f)
	good := string(sign(f, jwt.SigningMethodES256, s.key, goodClaims()))
	f.Add(good)
	f.Add(strings.Join(strings.Split(good, ".")[:2], ".") + ".AAAA")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := s.local.Authenticate(context.Background(), Token(text)); err == nil && text != good {
			t.Errorf("accepted %q", text)
		} else if refusal.Of(err) == refusal.Internal {
			t.Errorf("not a refusal: %v", err)
		}
	})
}

// FuzzClaims signs whatever payload comes: nothing but names that Kubernetes
// allows may come out.
func FuzzClaims(f *testing.F) {
	s := newSupervisor(f)
	text, err := json.Marshal(goodClaims())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, payload []byte) {
		signing := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload)
		signature, err := jwt.SigningMethodES256.Sign(signing, s.key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.local.Authenticate(context.Background(), Token(signing+"."+base64.RawURLEncoding.EncodeToString(signature)))
		if err != nil {
			return
		}
		if err := got.ID.Validate(); err != nil || strings.ContainsAny(got.Workload+got.App+got.Version+got.Pod.Name, ",+=\\\n\x00") {
			t.Errorf("caller %+v from %q: %v", got, payload, err)
		}
	})
}
