// Package sds hands the workload's certificate and the mesh's roots to Envoy,
// on a Unix socket, and pushes each new one as it comes.
//
// Inputs: Identity values (Set) and Envoy's discovery requests, delta or state
// of the world. Outputs: two secrets, "default" and "ROOTCA", Istio's names;
// any other name is refused. It may not import any other package of the agent:
// where certificates come from is not its business.
package sds

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
)

// The names of the two secrets.
const (
	Workload = "default" // certificate chain and key
	Roots    = "ROOTCA"  // what peers are verified with
)

// TypeURL is the one resource type served.
const TypeURL = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

// Identity is a certificate that a workload holds. All are PEM; none of the first
// three may be empty in an Identity that is Set.
type Identity struct {
	Chain []byte // leaf first
	Key   []byte // the leaf's private key
	Roots []byte // trusted authorities
	Lists []byte // of revoked certificates, one of every CA that may have signed a peer's; empty: none is checked
	Whole bool   // Lists are of every CA up to the roots: intermediates are checked too
}

// LogValue keeps the key out of logs.
func (Identity) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// String keeps the key out of messages.
func (Identity) String() string { return "[redacted]" }

// secret is one resource as it is sent. Version is a hash of the public part.
type secret struct {
	name, version string
	public        []byte
	body          *anypb.Any
}

// Server serves the secrets to any number of streams. The zero value is not
// usable: call New.
type Server struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
	log *slog.Logger

	mu      sync.Mutex
	secrets map[string]secret // empty until the first Set
	changed chan struct{}     // closed by the next Set
	streams map[*stream]bool
	taken   map[string][]byte // public part that every stream has acknowledged, by name
	alone   time.Time         // when the last stream ended, or the server began
	// reconnects is how long after that nobody's silence means anything.
	reconnects time.Duration
}

// New returns a Server that holds nothing yet: requests wait for the first Set.
func New(log *slog.Logger) *Server {
	return &Server{
		log: log, secrets: map[string]secret{}, changed: make(chan struct{}), streams: map[*stream]bool{}, taken: map[string][]byte{},
		alone: time.Now(), reconnects: reconnects,
	}
}

// Register puts the service onto g.
func (s *Server) Register(g *grpc.Server) { secretv3.RegisterSecretDiscoveryServiceServer(g, s) }

// Set replaces the identity and sends what has changed to every stream.
func (s *Server) Set(id Identity) error {
	workload, err := newSecret(Workload, id.Chain, workloadSecret(id))
	if err != nil {
		return err
	}
	roots, err := newSecret(Roots, id.Roots, rootsSecret(id))
	if err != nil {
		return err
	}
	if len(id.Lists) > 0 {
		roots.version = versionOf(id.Roots, id.Lists, strconv.AppendBool(nil, id.Whole))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[Workload], s.secrets[Roots] = workload, roots
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// current returns the secrets of these names that are held, sorted by name,
// and the channel that tells of the next change.
func (s *Server) current(names map[string]string) ([]secret, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []secret
	for _, name := range []string{Roots, Workload} {
		if _, wanted := names[name]; !wanted {
			continue
		}
		if held, ok := s.secrets[name]; ok {
			out = append(out, held)
		}
	}
	return out, s.changed
}

func newSecret(name string, public []byte, body *tlsv3.Secret) (secret, error) {
	packed, err := anypb.New(body)
	if err != nil {
		return secret{}, err
	}
	return secret{name: name, version: versionOf(public), public: public, body: packed}, nil
}

func versionOf(parts ...[]byte) string {
	sum := sha256.Sum256(bytes.Join(parts, nil))
	return hex.EncodeToString(sum[:8])
}

// Source: envoy.extensions.transport_sockets.tls.v3.TlsCertificate.
func workloadSecret(id Identity) *tlsv3.Secret {
	return &tlsv3.Secret{Name: Workload, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inline(id.Chain),
		PrivateKey:       inline(id.Key),
	}}}
}

// Source: envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.
func rootsSecret(id Identity) *tlsv3.Secret {
	checks := &tlsv3.CertificateValidationContext{TrustedCa: inline(id.Roots)}
	if len(id.Lists) > 0 {
		checks.Crl, checks.OnlyVerifyLeafCertCrl = inline(id.Lists), !id.Whole
	}
	return &tlsv3.Secret{Name: Roots, Type: &tlsv3.Secret_ValidationContext{ValidationContext: checks}}
}

func inline(pem []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: slices.Clone(pem)}}
}
