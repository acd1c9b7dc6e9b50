package agent_test

import (
	"math/big"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
)

// spire is an SDS server with a CA of its own that, like SPIRE's, serves streams of
// the state of the world alone.
type spire struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
	t  *testing.T
	ca *testCA

	mu      sync.Mutex
	rotated chan struct{}
	nacks   []string
}

func newSpire(t *testing.T) *spire {
	return &spire{t: t, ca: newTestCA(t), rotated: make(chan struct{})}
}

// serve listens on a pod's socket.
func (s *spire) serve(path string) {
	s.t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		s.t.Fatal(err)
	}
	server := grpc.NewServer()
	secretv3.RegisterSecretDiscoveryServiceServer(server, s)
	go func() { _ = server.Serve(l) }()
	s.t.Cleanup(server.Stop)
}

// rotate gives every stream a new certificate.
func (s *spire) rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.rotated)
	s.rotated = make(chan struct{})
}

func inlined(text []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: text}}
}

func (s *spire) secrets() []*tlsv3.Secret {
	cert := s.ca.issue(s.t, podID)
	return []*tlsv3.Secret{
		{Name: "default", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inlined(cert.ChainPEM), PrivateKey: inlined(cert.KeyPEM)}}},
		{Name: "ROOTCA", Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa: inlined(s.ca.roots(s.t).PEM())}}},
	}
}

// StreamSecrets answers the first request, and again at each rotation.
func (s *spire) StreamSecrets(stream secretv3.SecretDiscoveryService_StreamSecretsServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	go func() {
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			if r.GetErrorDetail() != nil {
				s.mu.Lock()
				s.nacks = append(s.nacks, r.GetErrorDetail().GetMessage())
				s.mu.Unlock()
			}
		}
	}()
	for n := 1; ; n++ {
		s.mu.Lock()
		rotated := s.rotated
		s.mu.Unlock()
		out := &discoveryv3.DiscoveryResponse{TypeUrl: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", VersionInfo: strconv.Itoa(n), Nonce: strconv.Itoa(n)}
		for _, secret := range s.secrets() {
			packed, err := anypb.New(secret)
			if err != nil {
				return err
			}
			out.Resources = append(out.Resources, packed)
		}
		if err := stream.Send(out); err != nil {
			return err
		}
		select {
		case <-rotated:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// TestExternalSecrets: two Envoys speak mutual TLS by the certificates and roots of
// another SDS server. The CA's certificate, with which the agents speak to the pilot, is
// shown to nobody and taken from nobody; a pod whose socket is late waits for it.
func TestExternalSecrets(t *testing.T) {
	p, other := newPair(t), newSpire(t)
	for _, pod := range []*pod{p.m.pod, p.caller} {
		pod.config.Options.WorkloadSDS = filepath.Join(t.TempDir(), "socket")
	}
	other.serve(p.caller.config.Options.WorkloadSDS)
	p.start()
	eventually(t, "the caller shows the other CA's certificate", func() bool { return (&mesh{ca: other.ca, tls: p.own}).serial(t) != nil })
	if p.m.serial(t) != nil || (&mesh{ca: other.ca, tls: p.m.tls}).serial(t) != nil {
		t.Error("a pod without its socket shows a certificate")
	}
	other.serve(p.m.pod.config.Options.WorkloadSDS)
	eventually(t, "one Envoy calls the other", p.served)
	if p.m.serial(t) != nil {
		t.Error("the mesh's CA is trusted")
	}
	seen := &mesh{ca: other.ca, tls: p.m.tls}
	var first *big.Int
	eventually(t, "a certificate of the other CA is shown", func() bool { first = seen.serial(t); return first != nil })
	other.rotate()
	eventually(t, "the next certificate is shown", func() bool { now := seen.serial(t); return now != nil && now.Cmp(first) != 0 })
	eventually(t, "one Envoy calls the other", p.served)
	if other.mu.Lock(); len(other.nacks) > 0 {
		t.Errorf("refused: %v", other.nacks)
	}
	other.mu.Unlock()
	eventually(t, "the certificate's end is a metric", func() bool { return p.m.pod.metric("weft_agent_external_certificate_expiry_timestamp_seconds") != "" })
}
