package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/weftmesh/weft/ca/internal/refusal"
	"github.com/weftmesh/weft/internal/spiffe"
)

// LocalIssuer is the issuer of tokens of local pods: the mesh supervisor.
const LocalIssuer = "weft-local"

const (
	// leeway covers a clock that was stepped; supervisor and CA share a machine.
	leeway = 5 * time.Second
	// maxLabel is the longest label value, maxName the longest object name
	// (Kubernetes).
	maxLabel = 63
	maxName  = 253
)

// Local authenticates local pods: the mesh supervisor signs a JWT (ES256) for
// each pod in the shape of a Kubernetes bound token, and Local holds its public
// key. The extra claim weft.mesh carries the labels to attest.
type Local struct {
	keys        *keyFile
	trustDomain string
	parser      *jwt.Parser
}

// NewLocal reads the public key file, PEM blocks of type PUBLIC KEY with P-256
// keys; it is read again when it changes, so that a supervisor may replace its
// key.
func NewLocal(file, trustDomain string) (*Local, error) {
	keys, err := openKeys(file)
	if err != nil {
		return nil, err
	}
	parser := jwt.NewParser(
		jwt.WithIssuer(LocalIssuer), jwt.WithAudience(Audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithStrictDecoding())
	return &Local{keys: keys, trustDomain: trustDomain, parser: parser}, nil
}

// claims is the payload of a local pod's token.
type claims struct {
	jwt.RegisteredClaims
	Kubernetes struct {
		Namespace      string `json:"namespace"`
		Pod            named  `json:"pod"`
		ServiceAccount named  `json:"serviceaccount"`
	} `json:"kubernetes.io"`
	Mesh struct {
		Workload string `json:"workload"`
		App      string `json:"app"`
		Version  string `json:"version"`
	} `json:"weft.mesh"`
}

type named struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// Authenticate verifies token and returns the pod that it was made for.
func (l *Local) Authenticate(_ context.Context, token Token) (Caller, error) {
	if token == "" {
		return Caller{}, refusal.New(refusal.TokenMissing, "no token")
	}
	if len(token) > maxToken {
		return Caller{}, refusal.New(refusal.TokenOversized, "token of %d bytes, at most %d", len(token), maxToken)
	}
	var c claims
	if _, err := l.parser.ParseWithClaims(string(token), &c, l.key); err != nil {
		return Caller{}, tokenRefusal(err)
	}
	return c.caller(l.trustDomain)
}

// errAlgorithm tells a foreign algorithm from a wrong signature.
var errAlgorithm = errors.New("want algorithm ES256")

// key is the jwt.Keyfunc. It is asked before the signature is checked, and
// answers for ES256 only: the public key must never serve as an HMAC secret. The
// library has an option for that, which calls it a wrong signature.
func (l *Local) key(token *jwt.Token) (any, error) {
	if token.Method != jwt.SigningMethodES256 {
		return nil, errAlgorithm
	}
	return l.keys.current()
}

// tokenRefusal turns an error of the JWT library into a refusal. The library's
// texts name claims, never the token itself, but quote broken input; so a
// malformed token gets a text of our own.
func tokenRefusal(err error) error {
	for _, known := range []struct {
		err    error
		reason refusal.Reason
	}{
		{errKeyFile, refusal.Internal},
		{errAlgorithm, refusal.TokenAlgorithm},
		{jwt.ErrTokenUnverifiable, refusal.TokenAlgorithm},
		{jwt.ErrTokenSignatureInvalid, refusal.TokenSignature},
		{jwt.ErrTokenExpired, refusal.TokenExpired},
		{jwt.ErrTokenNotValidYet, refusal.TokenNotYetValid},
		{jwt.ErrTokenUsedBeforeIssued, refusal.TokenNotYetValid},
		{jwt.ErrTokenInvalidAudience, refusal.TokenAudience},
		{jwt.ErrTokenInvalidIssuer, refusal.TokenIssuer},
		{jwt.ErrTokenRequiredClaimMissing, refusal.TokenClaims},
	} {
		if errors.Is(err, known.err) {
			return refusal.New(known.reason, "%w", known.err)
		}
	}
	return refusal.New(refusal.TokenMalformed, "not a JWT of a local pod")
}

// caller checks that the claims agree with one another and hold only names that
// Kubernetes allows: they are printed in certificates that proxies search by
// regular expression, so a comma in a label could forge another label.
func (c *claims) caller(trustDomain string) (Caller, error) {
	k := c.Kubernetes
	id, err := spiffe.New(trustDomain, k.Namespace, k.ServiceAccount.Name)
	if err != nil {
		return Caller{}, &refusal.Error{Reason: refusal.TokenClaims, Err: err}
	}
	if want := "system:serviceaccount:" + id.Namespace + ":" + id.ServiceAccount; c.Subject != want {
		return Caller{}, refusal.New(refusal.TokenClaims, "sub is %q, but kubernetes.io says %q", c.Subject, want)
	}
	if k.Pod.Name == "" || k.Pod.UID == "" {
		return Caller{}, refusal.New(refusal.TokenClaims, "kubernetes.io.pod: name and uid are needed")
	}
	for _, v := range []struct {
		field, value string
		max          int
	}{
		{"kubernetes.io.pod.name", k.Pod.Name, maxName},
		{"kubernetes.io.pod.uid", k.Pod.UID, maxName},
		{"weft.mesh.workload", c.Mesh.Workload, maxName},
		{"weft.mesh.app", c.Mesh.App, maxLabel},
		{"weft.mesh.version", c.Mesh.Version, maxLabel},
	} {
		if err := checkName(v.value, v.max); err != nil {
			return Caller{}, refusal.New(refusal.TokenClaims, "%s: %w", v.field, err)
		}
	}
	return Caller{
		ID: id, Workload: c.Mesh.Workload, App: c.Mesh.App, Version: c.Mesh.Version,
		Pod: Pod{Name: k.Pod.Name, UID: k.Pod.UID},
	}, nil
}

// checkName accepts "" and what Kubernetes allows in label values and names.
func checkName(s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("%d characters, at most %d", len(s), most)
	}
	if i := strings.IndexFunc(s, notNameRune); i >= 0 {
		return fmt.Errorf("%q may hold only letters, digits, '.', '-' and '_'", s)
	}
	return nil
}

func notNameRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
}
