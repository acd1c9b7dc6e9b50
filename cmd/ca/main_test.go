package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/spiffe"
)

const (
	deadline = 30 * time.Second
	runMain  = "WEFT_TEST_RUN_MAIN" // set in a process of this test binary that is to be the CA
)

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// caProcess is a CA process and the folder it works in.
type caProcess struct {
	t       *testing.T
	dir     string
	address string
	cmd     *exec.Cmd
}

func newCA(t *testing.T) *caProcess {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return &caProcess{t: t, dir: t.TempDir(), address: l.Addr().String()}
}

func (c *caProcess) path(name string) string { return filepath.Join(c.dir, name) }

func (c *caProcess) start() {
	c.t.Helper()
	c.cmd = exec.Command(os.Args[0], "--listen", c.address, "--monitoring", "127.0.0.1:0", "--store", c.path("store"),
		"--root-out", c.path("root.pem"), "--local-identity-key", c.path("identity.pem"), "--ttl", "6s",
		"--dns-names", "weft-system/weft-ca=weft-ca.weft-system.svc,weft-system/weft-pilot=weft-pilot.weft-system.svc")
	c.cmd.Env = append(os.Environ(), runMain+"=1")
	c.cmd.Stderr = os.Stderr
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	started := c.cmd.Process
	c.t.Cleanup(func() { _ = started.Kill() }) // for a test that failed midway
}

// end sends sig and returns what became of the process.
func (c *caProcess) end(sig syscall.Signal) error {
	if err := c.cmd.Process.Signal(sig); err != nil {
		return err
	}
	return c.cmd.Wait()
}

// identify writes the key that the CA trusts and a pod's token signed by it.
func (c *caProcess) identify() {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		c.t.Fatal(err)
	}
	now := time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": "weft-local", "aud": []string{"istio-ca"}, "sub": "system:serviceaccount:shop:reviews",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{
			"namespace": "shop", "pod": map[string]any{"name": "reviews-0", "uid": "1"},
			"serviceaccount": map[string]any{"name": "reviews", "uid": "2"},
		},
	}).SignedString(key)
	if err != nil {
		c.t.Fatal(err)
	}
	c.write("identity.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	c.write("token", []byte(token))
}

func (c *caProcess) write(name string, text []byte) {
	c.t.Helper()
	if err := os.WriteFile(c.path(name), text, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// manager is a workload that keeps a certificate from the CA.
func (c *caProcess) manager(ctx context.Context) *enroll.Manager {
	c.t.Helper()
	var roots *enroll.Roots
	within(c.t, "a roots file", func() (err error) {
		roots, err = enroll.RootsFile(c.path("root.pem"))
		return err
	})
	client, err := enroll.NewClient(enroll.ClientOptions{
		Address: c.address, Roots: roots, TokenFile: c.path("token"),
		CA:       spiffe.ID{TrustDomain: "cluster.local", Namespace: "weft-system", ServiceAccount: "weft-ca"},
		Identity: spiffe.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "reviews"},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	m := enroll.NewManager(enroll.ManagerOptions{Issuer: client, Roots: roots})
	go func() { _ = m.Run(ctx) }()
	return m
}

func within(t *testing.T, what string, try func() error) {
	t.Helper()
	end := time.After(deadline)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-end:
			t.Fatalf("not within %v: %s: %v", deadline, what, err)
		case <-tick.C:
		}
	}
}

// changed waits until the manager holds another certificate than old.
func changed(t *testing.T, m *enroll.Manager, old *enroll.Certificate) *enroll.Certificate {
	t.Helper()
	changes, cancel := m.Subscribe()
	defer cancel()
	end := time.After(deadline)
	for m.Current() == old {
		select {
		case <-changes:
		case <-end:
			t.Fatalf("no new certificate within %v", deadline)
		}
	}
	return m.Current()
}

// Certificates rotate, the CA is killed, and its successor goes on where it was.
func TestKilledCA(t *testing.T) {
	c := newCA(t)
	c.identify()
	c.start()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	m := c.manager(ctx)
	waiting, stopWaiting := context.WithTimeout(ctx, deadline)
	defer stopWaiting()
	first, err := m.Wait(waiting)
	if err != nil {
		t.Fatal(err)
	}
	second := changed(t, m, first)
	roots := m.Roots().PEM()

	if err := c.end(syscall.SIGKILL); err == nil {
		t.Fatal("the CA survived SIGKILL")
	}
	if m.Current() != second {
		t.Error("the certificate in use is gone with the CA")
	}
	c.start()
	third := changed(t, m, second)
	if err := third.Verify(m.Roots(), second.ID); err != nil {
		t.Error(err)
	}
	if now, err := os.ReadFile(c.path("root.pem")); err != nil || !bytes.Equal(now, roots) {
		t.Errorf("the root changed: %v", err)
	}
	if err := c.end(syscall.SIGTERM); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestFlagsThatCannotWork(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "") // no pod
	for _, args := range [][]string{
		{}, {"--store", t.TempDir()}, {"--dns-names", "*.svc"}, {"surplus"},
		{"--kube"}, {"--kubeconfig", filepath.Join(t.TempDir(), "missing")}, {"--kube", "--store", t.TempDir()},
	} {
		cmd := command()
		cmd.SetArgs(args)
		if err := cmd.ExecuteContext(context.Background()); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
