// Package identity finds out who asks the CA for a certificate.
//
// Inputs: a bearer token. Outputs: a Caller, which is everything that the
// caller's certificate may say, or a refusal. What the caller says about itself
// elsewhere (its CSR, gRPC metadata) has no part in it. Of the packages of the
// CA only this one may talk to the Kubernetes API; it must not import issue or
// store.
package identity

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/weftmesh/weft/ca/internal/refusal"
	"github.com/weftmesh/weft/internal/spiffe"
)

// Audience is what a token must be meant for. Name and value: Istio.
const Audience = "istio-ca"

// maxToken is the longest token looked at, in bytes. Kubernetes' bound tokens
// have about 1 kB.
const maxToken = 8 << 10

// Caller is a proven workload. Labels that are not known are "".
type Caller struct {
	ID       spiffe.ID
	Workload string // owning workload, such as the Deployment's name
	App      string // label app
	Version  string // label version
	Pod      Pod
}

// Namespace is the namespace of the caller's identity.
func (c Caller) Namespace() string { return c.ID.Namespace }

// Pod is one pod of the caller. The zero value is none.
type Pod struct{ Name, UID string }

// Authenticator proves who holds a token. Errors are *refusal.Error; an error
// of any other type is a fault of the authenticator itself.
//
// Local is the implementation for local pods. In a cluster one that asks the
// Kubernetes TokenReview API, with Audience, takes its place.
type Authenticator interface {
	Authenticate(ctx context.Context, token Token) (Caller, error)
}

// Token is a bearer token. It prints as "[redacted]".
type Token string

const redacted = "[redacted]"

// Format prints "[redacted]" whatever the verb.
func (Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue is "[redacted]".
func (Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// Bearer takes the token out of the values of an "authorization" header.
func Bearer(values []string) (Token, error) {
	if len(values) != 1 {
		return "", refusal.New(refusal.TokenMissing, "%d authorization headers, want one with a bearer token", len(values))
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "bearer") || token == "" {
		return "", refusal.New(refusal.TokenMissing, "the authorization header is not a bearer token")
	}
	if len(token) > maxToken {
		return "", refusal.New(refusal.TokenOversized, "token of %d bytes, at most %d", len(token), maxToken)
	}
	return Token(token), nil
}
