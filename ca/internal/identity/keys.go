package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/ca/internal/refusal"
)

// How the API server's keys are read: again after keysAge, so that a key that it
// no longer has is believed no longer than that, and for a key that is unknown
// at most every keysPause.
const (
	keysAge   = 5 * time.Minute
	keysPause = 5 * time.Second
)

// Paths of the API server that ClusterRole system:service-account-issuer-discovery
// lets every service account read. Source: Kubernetes, "Service account issuer
// discovery".
const (
	discoveryPath = "/.well-known/openid-configuration"
	keysPath      = "/openid/v1/jwks"
)

// minRSA is the shortest modulus that is believed, in bits.
const minRSA = 2048

// issuerKeys checks tokens by the keys that the API server signs them with, for
// a CA that may not ask for a TokenReview, which is a right of the cluster. What
// a review knows beside the signature, whether account and pod are still there,
// the CA reads itself (decision 017). It is safe for concurrent use.
type issuerKeys struct {
	api       kubernetes.Interface
	namespace string // the only one whose tokens are taken

	mu     sync.Mutex
	issuer string
	keys   map[string]crypto.PublicKey // by "kid"
	read   time.Time
}

// issuerKey is a key, and the issuer that the API server had when it gave it.
type issuerKey struct {
	key    crypto.PublicKey
	issuer string
}

// tokenClaims are those of a bound token.
type tokenClaims struct {
	jwt.RegisteredClaims
	Kubernetes struct {
		Namespace string `json:"namespace"`
		Node      named  `json:"node"`
		Pod       named  `json:"pod"`
		Secret    named  `json:"secret"`
		Account   named  `json:"serviceaccount"`
	} `json:"kubernetes.io"`
}

// verify gives what the API server signed of a token, if its account is there.
func (s *issuerKeys) verify(ctx context.Context, token Token) (binding, error) {
	var claims tokenClaims
	var failed error // to read the keys
	var want string  // the issuer
	_, err := jwt.ParseWithClaims(string(token), &claims, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		var found issuerKey
		if found, failed = s.key(ctx, kid); failed != nil {
			return nil, failed
		}
		want = found.issuer
		if claims.Issuer != want {
			return nil, fmt.Errorf("issuer %q, want %q", claims.Issuer, want)
		}
		return found.key, nil
	}, jwt.WithValidMethods([]string{"RS256", "ES256", "ES384", "ES512"}), jwt.WithAudience(Audience), jwt.WithExpirationRequired(), jwt.WithLeeway(leeway))
	switch {
	case failed != nil:
		return binding{}, failed
	case err != nil: // the library's text may quote the token
		return binding{}, refusal.New(refusal.TokenDenied, "the token is not one that the API server signed as issuer %q and that holds now", want)
	}
	k := claims.Kubernetes
	b := binding{namespace: k.Namespace, account: k.Account.Name, pod: k.Pod.Name, uid: types.UID(k.Pod.UID), node: k.Node.Name}
	switch {
	case claims.Subject != "system:serviceaccount:"+b.namespace+":"+b.account || b.account == "":
		return binding{}, refusal.New(refusal.TokenClaims, "the token's subject is not its service account")
	case b.namespace != s.namespace:
		return binding{}, refusal.New(refusal.TokenClaims, "the token is of namespace %q, and this CA serves %q alone", b.namespace, s.namespace)
	}
	if b.pod == "" || b.uid == "" {
		b.secret = k.Secret.Name
	}
	if err := b.bound(); err != nil {
		return binding{}, err
	}
	return b, s.account(ctx, b, types.UID(k.Account.UID))
}

// account refuses a token whose account was deleted, though another may have its
// name now.
func (s *issuerKeys) account(ctx context.Context, b binding, uid types.UID) error {
	found, err := s.api.CoreV1().ServiceAccounts(b.namespace).Get(ctx, b.account, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return refusal.New(refusal.TokenDenied, "service account %s/%s does not exist", b.namespace, b.account)
	case err != nil:
		return away("read service account "+b.namespace+"/"+b.account, err)
	case found.UID != uid:
		return refusal.New(refusal.TokenDenied, "service account %s/%s is another than the token is for", b.namespace, b.account)
	case overdue(found.DeletionTimestamp, time.Now()):
		return refusal.New(refusal.TokenDenied, "service account %s/%s is being deleted", b.namespace, b.account)
	}
	return nil
}

// key is the API server's key of an identifier.
func (s *issuerKeys) key(ctx context.Context, kid string) (issuerKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := time.Since(s.read)
	if key := s.keys[kid]; key != nil && age < keysAge {
		return issuerKey{key, s.issuer}, nil
	}
	if age > keysPause {
		if err := s.fetch(ctx); err != nil {
			return issuerKey{}, away("give the keys that it signs tokens with", err)
		}
	}
	if key := s.keys[kid]; key != nil {
		return issuerKey{key, s.issuer}, nil
	}
	return issuerKey{}, refusal.New(refusal.TokenDenied, "the API server has no key %.64q", kid)
}

// fetch reads issuer and keys anew; s.mu is held.
func (s *issuerKeys) fetch(ctx context.Context) error {
	var server struct {
		Issuer string `json:"issuer"`
	}
	var set struct {
		Keys []jwk `json:"keys"`
	}
	for path, into := range map[string]any{discoveryPath: &server, keysPath: &set} {
		raw, err := s.api.Discovery().RESTClient().Get().AbsPath(path).DoRaw(ctx)
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	keys := map[string]crypto.PublicKey{}
	for _, k := range set.Keys {
		if key, err := k.public(); err == nil { // others are for other algorithms
			keys[k.ID] = key
		}
	}
	if server.Issuer == "" || len(keys) == 0 {
		return errors.New("the API server names no issuer, or no key that is known here")
	}
	s.issuer, s.keys, s.read = server.Issuer, keys, time.Now()
	return nil
}

// jwk is a public key. Source: RFC 7517, RFC 7518 section 6.
type jwk struct {
	Type  string `json:"kty"`
	ID    string `json:"kid"`
	Curve string `json:"crv"`
	X     string `json:"x"`
	Y     string `json:"y"`
	N     string `json:"n"`
	E     string `json:"e"`
}

func (k jwk) public() (crypto.PublicKey, error) {
	switch k.Type {
	case "RSA":
		return k.rsa()
	case "EC":
		return k.ec()
	}
	return nil, fmt.Errorf("key type %q", k.Type)
}

func (k jwk) rsa() (*rsa.PublicKey, error) {
	n, err := base64.RawURLEncoding.DecodeString(k.N)
	if err != nil {
		return nil, err
	}
	e, err := base64.RawURLEncoding.DecodeString(k.E)
	if err != nil {
		return nil, err
	}
	exponent := new(big.Int).SetBytes(e)
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}
	if key.N.BitLen() < minRSA || !exponent.IsInt64() || key.E < 3 || key.E > 1<<31-1 {
		return nil, errors.New("a weak RSA key")
	}
	return key, nil
}

func (k jwk) ec() (*ecdsa.PublicKey, error) {
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[k.Curve]
	if curve == nil {
		return nil, fmt.Errorf("curve %q", k.Curve)
	}
	size := (curve.Params().BitSize + 7) / 8
	point := []byte{4} // uncompressed
	for _, coordinate := range []string{k.X, k.Y} {
		raw, err := base64.RawURLEncoding.DecodeString(coordinate)
		if err != nil || len(raw) != size {
			return nil, errors.New("a coordinate of the wrong length")
		}
		point = append(point, raw...)
	}
	return ecdsa.ParseUncompressedPublicKey(curve, point)
}
