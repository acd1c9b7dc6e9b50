//go:build stepcas

package stepca

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/smallstep/certificates/authority/config"
	stepca "github.com/smallstep/certificates/ca"
	"go.step.sm/crypto/jose"
)

// Password opens the key of the server's provisioner, weft.
const Password = "a provisioner's password"

// Server is a step-ca that listens.
type Server struct {
	parts   map[string][]byte
	address string
	stop    func() error
}

// Start runs a step-ca that signs with the key of parts, until it is stopped or
// the test ends.
func Start(t testing.TB, parts map[string][]byte) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{parts: parts, address: l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.LoadConfiguration(s.write(t))
	if err != nil {
		t.Fatal(err)
	}
	server, err := stepca.New(cfg, stepca.WithQuiet(true))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Run() }()
	s.stop = sync.OnceValue(func() error {
		err := errors.Join(server.Stop(), <-done)
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	s.listens(t, done)
	return s
}

// listens waits until somebody can connect.
func (s *Server) listens(t testing.TB, done chan error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(30 * time.Second); ; {
		conn, err := net.Dial("tcp", s.address)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-tick.C:
		case ended := <-done:
			done <- ended // for Stop
			t.Fatalf("it ended: %v", ended)
		case <-late:
			t.Fatalf("it does not listen: %v", err)
		}
	}
}

// Stop ends it.
func (s *Server) Stop() error { return s.stop() }

// write writes what `step ca init` writes, and returns the path of ca.json.
func (s *Server) write(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	text, err := json.Marshal(map[string]any{
		"root": filepath.Join(dir, "root-cert.pem"), "crt": filepath.Join(dir, "ca-cert.pem"), "key": filepath.Join(dir, "ca-key.pem"),
		"address": s.address, "dnsNames": []string{"127.0.0.1"}, "authority": map[string]any{"provisioners": []any{provisioner(t)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	files := maps.Clone(s.parts)
	files["ca.json"] = text
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "ca.json")
}

// provisioner is what `step ca provisioner add weft --type JWK` writes.
func provisioner(t testing.TB) map[string]any {
	t.Helper()
	public, encrypted, err := jose.GenerateDefaultKeyPair([]byte(Password))
	if err != nil {
		t.Fatal(err)
	}
	key, err := encrypted.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"type": "JWK", "name": "weft", "key": public, "encryptedKey": key}
}

// Words are weft-ca's cas.json for the server.
func (s *Server) Words(password string) []byte {
	block, _ := pem.Decode(s.parts["root-cert.pem"])
	sum := sha256.Sum256(block.Bytes)
	return fmt.Appendf(nil, `{"type": "stepcas", "certificateAuthority": "https://%s", "certificateAuthorityFingerprint": %q,
		"certificateIssuer": {"type": "jwk", "provisioner": "weft", "password": %q}}`, s.address, hex.EncodeToString(sum[:]), password)
}

// Parts is what is plugged in to have the server sign: its certificates, and Words
// in the place of its key.
func (s *Server) Parts() map[string][]byte {
	out := maps.Clone(s.parts)
	delete(out, "ca-key.pem")
	out["cas.json"] = s.Words(Password)
	return out
}

// Certificates reads the PEM texts of a part.
func Certificates(t testing.TB, text []byte) (out []*x509.Certificate) {
	t.Helper()
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, cert)
	}
	return out
}
