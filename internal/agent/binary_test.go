package agent_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/internal/spiffe"
)

// The design's limits for what lives in every pod, in kB.
const (
	maxAnonymous = 12 << 10
	maxResident  = 35 << 10
)

// TestBinary runs the program itself, as a pod does, with a CA of its own over
// the network: flags, environment, enrolment, and how much memory it takes
// with a thousand services.
func TestBinary(t *testing.T) {
	m := newMesh(t)
	for i := range 1000 {
		host := fmt.Sprintf("svc-%d.shop.svc.cluster.local", i)
		m.pilot.put(host, domain(host, fmt.Sprintf("10.96.%d.%d", i/250, i%250)))
		m.pilot.put("outbound|80||"+host, cluster("outbound|80||"+host))
	}
	m.pilot.start()
	m.pod.cmd = binaryCommand(t, m, startCA(t, m.ca))
	m.pod.startCommand()
	eventually(t, "the pod is ready", m.pod.ready)
	eventually(t, "Envoy's metrics are on the page", func() bool { return m.pod.metric("envoy_server_live{}") == "1" })
	if m.serial(t) == nil {
		t.Error("Envoy shows no certificate")
	}
	if answer := m.lookup(t, "svc-999.shop."); len(answer) != 1 {
		t.Errorf("svc-999.shop is %v", answer)
	}
	t.Logf("ready after %s s", m.pod.metric("istio_agent_startup_duration_seconds"))
	eventually(t, "the start's garbage is given back", func() bool {
		return memory(t, m.pod.cmd.Process.Pid)["RssAnon"] <= maxAnonymous
	})
	used := memory(t, m.pod.cmd.Process.Pid)
	t.Logf("anonymous %d kB, resident %d kB, most ever %d kB", used["RssAnon"], used["VmRSS"], used["VmHWM"])
	if used["VmRSS"] > maxResident {
		t.Errorf("resident are %d kB, at most %d may be", used["VmRSS"], maxResident)
	}
	m.endInOrder(t)
}

// endInOrder ends a pod as its supervisor does: SIGUSR1, upon which it takes no
// more traffic but serves on, and SIGTERM once the app has ended.
func (m *mesh) endInOrder(t *testing.T) {
	t.Helper()
	if err := m.pod.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod is no longer ready", func() bool { return !m.pod.ready() })
	if body := m.body(); body != "one" {
		t.Errorf("during the drain Envoy answers %q", body)
	}
	if answer := m.lookup(t, "reviews."); len(answer) != 1 {
		t.Errorf("during the drain reviews is %v", answer)
	}
	if err := m.pod.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-m.pod.ended
	if left := m.pod.envoys(); len(left) > 0 || m.pod.cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("exit code %d, Envoys left: %v", m.pod.cmd.ProcessState.ExitCode(), left)
	}
}

// binaryCommand builds cmd/agent and gives it what the pod's harness says.
func binaryCommand(t *testing.T, m *mesh, ca string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	binary, token := filepath.Join(dir, "agent"), filepath.Join(dir, "token")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/weftmesh/weft/cmd/agent")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	write(t, token, []byte("a.token\n"))
	o := m.pod.config.Options
	port := func(n uint16) string { return strconv.Itoa(int(n)) }
	cmd := exec.Command(binary, "proxy", "sidecar", "--run-dir", o.RunDir, "--envoy", o.Envoy.Path,
		"--pilot", m.pilot.address, "--ca", ca, "--root-cert", m.ca.rootsFile(), "--token", token,
		"--dns-listen", o.DNS.Listen[0], "--concurrency", "1", "--drain-minimum", "1ms",
		"--admin-port", port(o.Ports.Admin), "--status-port", port(o.Ports.Status),
		"--health-port", port(o.Ports.Health), "--prometheus-port", port(o.Ports.Prometheus))
	cmd.Env = append(os.Environ(), "POD_NAME=reviews-v1-abc", "POD_NAMESPACE=shop", "INSTANCE_IP=127.0.0.1",
		"SERVICE_ACCOUNT=reviews", `ISTIO_METAJSON_LABELS={"app":"reviews"}`)
	return cmd
}

// memory reads the kB lines of a process's status.
func memory(t *testing.T, pid int) map[string]int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for line := range strings.Lines(string(text)) {
		var name string
		var kB int
		if n, _ := fmt.Sscanf(strings.Replace(line, ":", " ", 1), "%s %d kB", &name, &kB); n == 2 {
			out[name] = kB
		}
	}
	return out
}

// caServer signs for whoever shows the test's token.
type caServer struct {
	securityapi.UnimplementedIstioCertificateServiceServer
	ca *testCA
}

func startCA(t *testing.T, ca *testCA) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serving := ca.issue(t, spiffe.ID{TrustDomain: "cluster.local", Namespace: "weft-system", ServiceAccount: "weft-ca"})
	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*serving.TLS()}}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	securityapi.RegisterIstioCertificateServiceServer(server, &caServer{ca: ca})
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

func (s *caServer) CreateCertificate(ctx context.Context, r *securityapi.IstioCertificateRequest) (*securityapi.IstioCertificateResponse, error) {
	if md, _ := metadata.FromIncomingContext(ctx); strings.Join(md.Get("authorization"), "") != "Bearer a.token" {
		return nil, errors.New("no token")
	}
	block, _ := pem.Decode([]byte(r.GetCsr()))
	if block == nil {
		return nil, errors.New("no CSR")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), URIs: []*url.URL{podID.URL()},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.ca.cert, csr.PublicKey.(*ecdsa.PublicKey), s.ca.key)
	if err != nil {
		return nil, err
	}
	chain := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return &securityapi.IstioCertificateResponse{CertChain: []string{chain}}, nil
}
