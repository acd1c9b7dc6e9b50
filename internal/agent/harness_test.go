package agent_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/weftmesh/weft/internal/agent"
	"github.com/weftmesh/weft/internal/agent/bootstrap"
	"github.com/weftmesh/weft/internal/agent/node"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/spiffe"
)

var (
	pilotID = spiffe.ID{TrustDomain: "cluster.local", Namespace: "weft-system", ServiceAccount: "weft-pilot"}
	podID   = spiffe.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "reviews"}
)

// agentEnv makes the test binary an agent: the tests kill it.
const agentEnv = "WEFT_TEST_AGENT"

func TestMain(m *testing.M) {
	if text := os.Getenv(agentEnv); text != "" {
		os.Exit(runAgent(text))
	}
	os.Exit(m.Run())
}

// agentConfig is what a test's agent is told, as JSON in its environment.
type agentConfig struct {
	Options agent.Options
	CADir   string        // of the test's CA
	TTL     time.Duration // of its certificates
	LogFile string
}

func runAgent(text string) int {
	var c agentConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	signal.Ignore(syscall.SIGPIPE)
	orders := agent.Orders{Hurry: context.Background()}
	var stop, forget func()
	orders.Quit, stop = signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	orders.Drain, forget = signal.NotifyContext(context.Background(), syscall.SIGUSR1)
	defer forget()
	c.Options.Log = slog.New(slog.NewTextHandler(os.Stdout, nil))
	ca, err := loadCA(c.CADir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	c.Options.CA.Issuer = &testIssuer{ca: ca, id: podID, ttl: c.TTL}
	if err := agent.Run(orders, c.Options); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// testCA is a root in a folder, so that a process of its own can use it.
type testCA struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newTestCA(t *testing.T) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "root.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	ca, err := loadCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func loadCA(dir string) (*testCA, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "root.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return nil, err
	}
	return &testCA{dir: dir, cert: pair.Leaf, key: pair.PrivateKey.(*ecdsa.PrivateKey)}, nil
}

func (c *testCA) rootsFile() string { return filepath.Join(c.dir, "root.pem") }

func (c *testCA) roots(t *testing.T) *enroll.Roots {
	t.Helper()
	roots, err := enroll.RootsFile(c.rootsFile())
	if err != nil {
		t.Fatal(err)
	}
	return roots
}

// issued is a certificate in the shape that enroll's TLS functions take.
type issued struct{ *enroll.Certificate }

func (i issued) certificate() (*tls.Certificate, error) { return i.TLS(), nil }

func (c *testCA) issue(t *testing.T, id spiffe.ID) issued {
	t.Helper()
	cert, err := (&testIssuer{ca: c, id: id, ttl: time.Hour}).Issue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return issued{cert}
}

// testIssuer is a CA in the agent's own process.
type testIssuer struct {
	ca  *testCA
	id  spiffe.ID
	ttl time.Duration
}

func (i *testIssuer) Issue(context.Context) (*enroll.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), URIs: []*url.URL{i.id.URL()},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(i.ttl),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.ca.cert, key.Public(), i.ca.key)
	if err != nil {
		return nil, err
	}
	return enroll.NewCertificate(key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func peerID(ctx context.Context) spiffe.ID {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return spiffe.ID{}
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return spiffe.ID{}
	}
	id, _ := enroll.PeerID(info.State)
	return id
}

// pod is an agent process, and the Envoy that it leaves behind when killed.
type pod struct {
	t      *testing.T
	config agentConfig
	cmd    *exec.Cmd
	ended  chan struct{}
	output *lockedBuffer
	reads  *os.File // the end of the pipe from which output comes
}

// newPod prepares an agent for one test, on ports of its own.
func newPod(t *testing.T, ca *testCA, pilots ...string) *pod {
	t.Helper()
	binary, err := envoybin.Ensure(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &pod{t: t, output: &lockedBuffer{}}
	p.config = agentConfig{
		CADir: ca.dir, TTL: time.Hour,
		Options: agent.Options{
			Node: node.Node{
				Role: node.Sidecar, Name: "reviews-v1-abc", Namespace: "shop", ServiceAccount: "reviews", Workload: "reviews-v1",
				IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Labels: map[string]string{"app": "reviews", "version": "v1"},
			},
			Ports:  bootstrap.Ports{Admin: freePort(t), Status: freePort(t), Health: freePort(t), Prometheus: freePort(t)},
			RunDir: filepath.Join(dir, "run"),
			Envoy:  agent.EnvoyOptions{Path: binary, Concurrency: 1},
			Pilot:  agent.PilotOptions{Addresses: pilots, ID: pilotID},
			CA:     agent.CAOptions{RootsFile: ca.rootsFile()},
			DNS:    agent.DNSOptions{Listen: []string{freeAddress(t)}},
			Drain:  agent.DrainOptions{Max: 3 * time.Second, Min: time.Millisecond},
		},
	}
	t.Cleanup(func() {
		p.kill()
		if pid := p.envoyPID(); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if t.Failed() {
			t.Logf("agent and Envoy wrote:\n%s", p.output)
		}
	})
	return p
}

// start runs an agent process; its output goes through a pipe that ends with
// the test.
func (p *pod) start() {
	p.t.Helper()
	text, err := json.Marshal(p.config)
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), agentEnv+"="+string(text))
	p.startCommand()
}

// startCommand starts p.cmd, whatever it is.
func (p *pod) startCommand() {
	p.t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = write, write
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	_ = write.Close()
	p.reads = read
	go func() { _, _ = io.Copy(p.output, read) }()
	cmd, ended := p.cmd, make(chan struct{})
	p.ended = ended
	go func() { _ = cmd.Wait(); close(ended) }()
	p.t.Cleanup(func() { _ = read.Close() })
}

// closeOutput leaves agent and Envoy with a pipe that nobody reads.
func (p *pod) closeOutput() { _ = p.reads.Close() }

// kill ends the agent as the kernel's OOM killer would.
func (p *pod) kill() {
	if p.cmd != nil && p.cmd.Process != nil {
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

func (p *pod) envoyPID() int {
	text, err := os.ReadFile(filepath.Join(p.config.Options.RunDir, "envoy.pid"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// envoys are the processes that run with this pod's bootstrap.
func (p *pod) envoys() []int {
	var out []int
	entries, err := os.ReadDir("/proc")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if pid, atoi := strconv.Atoi(e.Name()); err == nil && atoi == nil &&
			bytes.Contains(line, []byte(p.config.Options.RunDir+"/bootstrap.json")) {
			out = append(out, pid)
		}
	}
	return out
}

// admin asks Envoy itself, whether an agent runs or not.
func (p *pod) admin() *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(p.config.Options.RunDir, "admin.sock"))
	}}}
}

func (p *pod) ready() bool {
	code, _, _ := get(fmt.Sprintf("http://127.0.0.1:%d/healthz/ready", p.config.Options.Ports.Health))
	return code == http.StatusOK
}

func (p *pod) statusURL(path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", p.config.Options.Ports.Status, path)
}

// metric is the value of one line of the merged page; "" if it is not there.
func (p *pod) metric(name string) string {
	_, body, _ := get(p.statusURL("/stats/prometheus"))
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// eventually waits for a condition, and says what it waited for if it fails.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(2 * time.Minute)
	for !condition() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("not within 2 min: %s", what)
		}
	}
}

var client = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func get(url string) (int, string, error) { return getBy(client, url) }

func getBy(client *http.Client, url string) (int, string, error) {
	response, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// given are the ports that this process has given out: nobody may listen there
// yet, but somebody will.
var given sync.Map

// freeAddress is below the ports that the kernel gives to outgoing connections,
// which would otherwise take it before the agent does.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := 20000 + mathrand.IntN(12000)
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		address := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		defer l.Close()
		return address
	}
	t.Fatal("no free port")
	return ""
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	return netip.MustParseAddrPort(freeAddress(t)).Port()
}

type lockedBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}
