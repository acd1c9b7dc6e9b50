package pilot

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/source/memory"
	"github.com/weftmesh/weft/internal/spiffe"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// testCA issues certificates for one identity each; it is the pilot's Issuer.
type testCA struct {
	t    *testing.T
	root *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newTestCA(t *testing.T) *testCA {
	ca := &testCA{t: t}
	ca.root, ca.key = ca.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return ca
}

func (ca *testCA) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	parent, signer := ca.root, ca.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		ca.t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return out, key
}

func (ca *testCA) issue(id spiffe.ID) *enroll.Certificate {
	leaf, key := ca.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "leaf"}, URIs: []*url.URL{id.URL()}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, // as an API server finds the webhook
	})
	cert, err := enroll.NewCertificate(key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}))
	if err != nil {
		ca.t.Fatal(err)
	}
	return cert
}

// Issue gives the pilot its certificate.
func (ca *testCA) Issue(context.Context) (*enroll.Certificate, error) {
	return ca.issue(ID("cluster.local")), nil
}

// pem is the CA's own certificate.
func (ca *testCA) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.root.Raw}))
}

func (ca *testCA) roots() *enroll.Roots {
	roots, err := enroll.FixedRoots([]byte(ca.pem()))
	if err != nil {
		ca.t.Fatal(err)
	}
	return roots
}

const knownPod = `
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {serviceAccountName: web, containers: [{name: app}]}
status: {phase: Running, podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}]}
`

func TestMutualTLS(t *testing.T) {
	ca, other := newTestCA(t), newTestCA(t)
	src := memory.New()
	for _, text := range []string{service("shop", "a"), knownPod} {
		if found := src.ApplyYAML("x.yaml", text); len(found) > 0 {
			t.Fatal(found)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan Addresses, 1), make(chan error, 1)
	identity := enroll.NewManager(enroll.ManagerOptions{Issuer: ca, Roots: ca.roots(), Logger: slog.New(slog.DiscardHandler)})
	go func() {
		ended <- Run(ctx, Options{Source: src, XDS: "127.0.0.1:0", Identity: identity, Log: slog.New(slog.DiscardHandler), Started: func(a Addresses) { started <- a }})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	addr := (<-started).XDS
	if _, err := identity.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	web := func(td string) spiffe.ID { return spiffe.ID{TrustDomain: td, Namespace: "shop", ServiceAccount: "web"} }
	present := func(c *enroll.Certificate) enroll.CertificateFunc {
		return func() (*tls.Certificate, error) { return c.TLS(), nil }
	}
	names, err := clusters(ctx, addr, enroll.ClientTLS(present(ca.issue(web("cluster.local"))), ca.roots(), enroll.AllowIDs(ID("cluster.local"))))
	if err != nil || !strings.Contains(names, "outbound|80||a.shop.svc.cluster.local") {
		t.Fatalf("a known pod got %q, %v", names, err)
	}
	for name, cert := range map[string]enroll.CertificateFunc{
		"no certificate":       nil,
		"another mesh's CA":    present(other.issue(web("cluster.local"))),
		"another trust domain": present(ca.issue(web("evil.local"))),
	} {
		if names, err := clusters(ctx, addr, enroll.ClientTLS(cert, ca.roots(), nil)); err == nil {
			t.Errorf("%s was served %q", name, names)
		}
	}
}

// clusters asks for all clusters as pod web-1 and returns their names.
func clusters(ctx context.Context, addr string, config *tls.Config) (string, error) {
	return clustersOf(ctx, addr, config, "web-1")
}

func clustersOf(ctx context.Context, addr string, config *tls.Config, pod string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return "", err
	}
	// A failed handshake shows at Recv.
	_ = stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: snapshot.Cluster, Node: &core.Node{Id: "sidecar~10.1.0.1~" + pod + ".shop~shop.svc.cluster.local"}})
	m, err := stream.Recv()
	if err != nil {
		return "", err
	}
	var names []string
	for _, r := range m.Resources {
		names = append(names, r.Name)
	}
	return strings.Join(names, " "), nil
}
