// Package refusal names why the CA does not issue a certificate.
//
// Inputs: a Reason and the details. Output: an error that carries both, so that
// the service can count it, log it and answer with the right gRPC code. It
// imports the standard library only, and no refusal ever holds a token or key.
package refusal

import (
	"errors"
	"fmt"
)

// Reason is why a request was refused, as metrics, logs and answers show it.
// The zero value is no reason.
type Reason string

// Reasons for which the caller is not known.
const (
	TokenMissing     Reason = "token_missing"       // no bearer token
	TokenOversized   Reason = "token_oversized"     // longer than any real token
	TokenMalformed   Reason = "token_malformed"     // not a JWT
	TokenAlgorithm   Reason = "token_algorithm"     // not ES256
	TokenSignature   Reason = "token_signature"     // signed by another key
	TokenExpired     Reason = "token_expired"       // exp has passed
	TokenNotYetValid Reason = "token_not_yet_valid" // nbf or iat lie ahead
	TokenAudience    Reason = "token_audience"      // not meant for this CA
	TokenIssuer      Reason = "token_issuer"        // not from the local supervisor
	TokenClaims      Reason = "token_claims"        // claims missing, contradictory or not valid
	TokenDenied      Reason = "token_denied"        // the API server does not accept it
	TokenUnbound     Reason = "token_unbound"       // not the token of a pod
	PodGone          Reason = "pod_gone"            // its pod does not exist, or another one has its name
	PodMismatch      Reason = "pod_mismatch"        // its pod has another account or node
	PodFinished      Reason = "pod_finished"        // its pod has ended
)

// Reasons for which a request of a known caller is not granted.
const (
	Rate         Reason = "rate"          // asks too often
	Crowded      Reason = "crowded"       // too many ask at once, most of them of its namespace
	CSROversized Reason = "csr_oversized" // longer than any real request
	CSRMalformed Reason = "csr_malformed" // not one PEM PKCS #10 request
	CSRSignature Reason = "csr_signature" // caller does not hold the key
	CSRKey       Reason = "csr_key"       // kind or size of key not accepted
	CSRName      Reason = "csr_name"      // names somebody else
	CSRAuthority Reason = "csr_authority" // asks to be a CA
	CSRExtension Reason = "csr_extension" // asks for something that is not granted
	CSRValidity  Reason = "csr_validity"  // negative lifetime
)

// Reasons that are the CA's own fault.
const (
	AuthorityExpired Reason = "authority_expired" // the signing certificate is at its end
	KubernetesAway   Reason = "kubernetes_away"   // the API server gives no answer; asking again may help
	RootChanges      Reason = "root_changes"      // not in this moment of a rotation; ask again
	Backend          Reason = "backend"           // the back end failed
	BadLeaf          Reason = "bad_leaf"          // the back end signed something else
	Internal         Reason = "internal"          // a fault of the program
)

// All lists every reason, so that each counter exists from the start.
var All = []Reason{
	TokenMissing, TokenOversized, TokenMalformed, TokenAlgorithm, TokenSignature, TokenExpired,
	TokenNotYetValid, TokenAudience, TokenIssuer, TokenClaims,
	TokenDenied, TokenUnbound, PodGone, PodMismatch, PodFinished,
	Rate, Crowded, CSROversized, CSRMalformed, CSRSignature, CSRKey, CSRName, CSRAuthority, CSRExtension, CSRValidity,
	AuthorityExpired, KubernetesAway, RootChanges, Backend, BadLeaf, Internal,
}

// Error is a refusal. Its text starts with the reason.
type Error struct {
	Reason Reason
	Err    error // the details; never nil
}

// Error is "REASON: DETAILS".
func (e *Error) Error() string { return string(e.Reason) + ": " + e.Err.Error() }

// Unwrap returns the details.
func (e *Error) Unwrap() error { return e.Err }

// New returns a refusal whose details are formatted as by fmt.Errorf.
func New(reason Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Err: fmt.Errorf(format, args...)}
}

// Of returns the reason in err's chain: "" for nil, Internal for an error that
// is no refusal.
func Of(err error) Reason {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return Internal
}
