package identity

import (
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/weftmesh/weft/ca/internal/refusal"
)

// boundClaims are the claims of a Kubernetes bound token that screen reads.
type boundClaims struct {
	jwt.RegisteredClaims
	Kubernetes struct {
		Pod    named `json:"pod"`
		Secret named `json:"secret"`
	} `json:"kubernetes.io"`
}

// screen refuses tokens that the API server would refuse too, or that are of no
// use here, so that garbage costs no call to it. It reads claims that nobody has
// verified: they serve to refuse, and to say why, never to grant.
func screen(token Token, now time.Time) error {
	switch {
	case token == "":
		return refusal.New(refusal.TokenMissing, "no token")
	case len(token) > maxToken:
		return refusal.New(refusal.TokenOversized, "token of %d bytes, at most %d", len(token), maxToken)
	}
	var c boundClaims
	if _, _, err := jwt.NewParser().ParseUnverified(string(token), &c); err != nil {
		return refusal.New(refusal.TokenMalformed, "not a JWT of a service account") // the library's text may quote the token
	}
	switch {
	case !slices.Contains(c.Audience, Audience):
		return refusal.New(refusal.TokenAudience, "the token is not meant for %q: mount a projected serviceAccountToken with audience %[1]s", Audience)
	case c.ExpiresAt == nil || now.After(c.ExpiresAt.Add(leeway)):
		return refusal.New(refusal.TokenExpired, "the token has expired")
	case c.Kubernetes.Secret.Name == "" && (c.Kubernetes.Pod.Name == "" || c.Kubernetes.Pod.UID == ""):
		return refusal.New(refusal.TokenUnbound, "the token is not bound to a pod: use the projected token of a pod, or one bound to the Secret NAME.UID of a WorkloadEntry")
	}
	return nil
}

// Claimed is the namespace that a token says it is of, "" where it says nothing. It
// is not proven: it may order a queue, and no more.
func Claimed(token Token) string {
	var c jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(string(token), &c); err != nil {
		return ""
	}
	account, ok := strings.CutPrefix(c.Subject, "system:serviceaccount:")
	if !ok {
		return ""
	}
	namespace, _, _ := strings.Cut(account, ":")
	return namespace
}
