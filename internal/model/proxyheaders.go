package model

// ProxyHeaders says which headers proxies write. The zero value is Istio's
// default: all but X-Forwarded-Host and X-Forwarded-Port.
// Source: istio.io/api mesh/v1alpha1, message ProxyConfig.ProxyHeaders.
type ProxyHeaders struct {
	// ClientCert is what a server's sidecar does with X-Forwarded-Client-Cert.
	ClientCert ForwardClientCert
	// CertDetails are written of the client's certificate.
	CertDetails CertDetails
	// Server is written to answers in place of "istio-envoy"; empty: that.
	Server string
	// KeepServer leaves the app's own header Server, or none, in the answer.
	KeepServer bool
	// NoRequestID gives requests no X-Request-Id that have none.
	NoRequestID bool
	// NoAttemptCount writes no X-Envoy-Attempt-Count to requests.
	NoAttemptCount bool
	// NoDebug writes no X-Envoy-Upstream-Service-Time and the like.
	NoDebug bool
	// KeepCase passes names of HTTP/1 headers on in the case they came in.
	KeepCase bool
	// ForwardedHost says in X-Forwarded-Host what a rewritten host was.
	ForwardedHost bool
	// ForwardedPort says in X-Forwarded-Port which port a gateway was called at.
	ForwardedPort bool
}

// ForwardClientCert says what becomes of X-Forwarded-Client-Cert.
// Source: istio.io/api mesh/v1alpha1, enum ForwardClientCertDetails.
type ForwardClientCert int

// The zero value is the default: sidecars append, gateways write it anew.
const (
	ForwardDefault  ForwardClientCert = iota
	ForwardSanitize                   // removed
	ForwardOnly                       // as it came, of clients with a certificate
	ForwardAppend                     // theirs added, of clients with a certificate
	ForwardSet                        // theirs alone
	ForwardAlways                     // as it came, whoever sent it
)

// CertDetails are the parts of a client's certificate that a server's sidecar
// writes. The zero value is the default: subject, DNS names and URI.
type CertDetails struct{ NoSubject, NoDNS, NoURI, Cert, Chain bool }
