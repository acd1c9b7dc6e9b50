// Package issuer is a small issuer of tokens for the sample jwt: whoever asks is
// given one. Input: HTTP requests. Output: tokens (RFC 7519) and the keys that
// verify them (RFC 7517). It imports the standard library alone, and nothing of
// the mesh.
package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Lifetime of tokens.
const Lifetime = time.Hour

// Issuer signs with one of its keys, and publishes all of them.
type Issuer struct {
	name string

	mu   sync.Mutex
	keys []key
	uses int // the key that signs
	made int // keys so far
}

type key struct {
	id      string
	private *ecdsa.PrivateKey
	x, y    string // base64url
}

// New returns an issuer of tokens with this name as "iss", with one key.
func New(name string) (*Issuer, error) {
	i := &Issuer{name: name}
	return i, i.add()
}

func (i *Issuer) add() error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		return err
	}
	i.made++
	i.keys = append(i.keys, key{fmt.Sprintf("key-%d", i.made), private, encode(point[1:33]), encode(point[33:])})
	return nil
}

// Handler serves GET /keys and GET /token?NAME=VALUE..., and the three steps of
// a rotation: POST /publish a further key, POST /use the newest, POST /withdraw
// all others. A claim that is given several times is a list.
func (i *Issuer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /keys", i.locked(func(w http.ResponseWriter, _ *http.Request) { i.publish(w) }))
	mux.HandleFunc("GET /token", i.locked(i.token))
	mux.HandleFunc("POST /publish", i.locked(func(w http.ResponseWriter, _ *http.Request) {
		if err := i.add(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		i.publish(w)
	}))
	mux.HandleFunc("POST /use", i.locked(func(w http.ResponseWriter, _ *http.Request) {
		i.uses = len(i.keys) - 1
		i.publish(w)
	}))
	mux.HandleFunc("POST /withdraw", i.locked(func(w http.ResponseWriter, _ *http.Request) {
		i.keys, i.uses = i.keys[i.uses:i.uses+1], 0
		i.publish(w)
	}))
	return mux
}

func (i *Issuer) locked(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		h(w, r)
	}
}

// publish answers the public parts of the keys.
func (i *Issuer) publish(w http.ResponseWriter) {
	all := []map[string]string{}
	for _, k := range i.keys {
		all = append(all, map[string]string{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": k.id, "x": k.x, "y": k.y})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": all})
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	claims := map[string]any{}
	for name, values := range r.URL.Query() {
		claims[name] = values
		if len(values) == 1 {
			claims[name] = values[0]
		}
	}
	claims["iss"], claims["iat"], claims["exp"] = i.name, time.Now().Unix(), time.Now().Add(Lifetime).Unix()
	text, err := i.keys[i.uses].sign(claims)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = fmt.Fprint(w, text)
}

// sign makes a token by ES256 (RFC 7518, section 3.4).
func (k key) sign(claims map[string]any) (string, error) {
	head, err := json.Marshal(map[string]string{"alg": "ES256", "typ": "JWT", "kid": k.id})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := encode(head) + "." + encode(body)
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, digest[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + encode(signature), nil
}

func encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }
