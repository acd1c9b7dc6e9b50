package samplecert

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCommittedSampleWorks shakes hands with the files that are in git, as a
// gateway and a customer do.
func TestCommittedSampleWorks(t *testing.T) {
	checkFolder(t, filepath.Join("..", "..", "tls-gateway"))
}

func TestWriteMakesAFolderThatWorks(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, "shop.example.com", "staff.example.com"); err != nil {
		t.Fatal(err)
	}
	checkFolder(t, dir)
	if err := Write(dir); err == nil {
		t.Error("no host gave no error")
	}
}

func checkFolder(t *testing.T, dir string) {
	t.Helper()
	data := secretData(t, filepath.Join(dir, "secrets.yaml"))
	server, err := tls.X509KeyPair(data["tls.crt"], data["tls.key"])
	if err != nil {
		t.Fatal(err)
	}
	client, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.pem"), filepath.Join(dir, "client-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) || string(ca) != string(data["ca.crt"]) {
		t.Fatal("ca.pem and the Secret's ca.crt must be the same root")
	}
	if until := server.Leaf.NotAfter; time.Until(until) < 50*365*24*time.Hour {
		t.Errorf("the sample ends at %v: too soon", until)
	}
	if !strings.Contains(server.Leaf.Subject.String(), organization) {
		t.Errorf("the certificate does not say that it is a sample: %v", server.Leaf.Subject)
	}
	for _, host := range []string{"shop.example.com", "staff.example.com"} {
		shake(t,
			&tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots},
			&tls.Config{Certificates: []tls.Certificate{client}, RootCAs: roots, ServerName: host})
	}
}

func shake(t *testing.T, server, client *tls.Config) {
	t.Helper()
	a, b := net.Pipe()
	defer func() { _ = a.Close() }()
	defer func() { _ = b.Close() }()
	served := make(chan error, 1)
	go func() { served <- tls.Server(a, server).HandshakeContext(t.Context()) }()
	if err := tls.Client(b, client).HandshakeContext(t.Context()); err != nil {
		t.Errorf("the client at %s: %v", client.ServerName, err)
	}
	if err := <-served; err != nil {
		t.Errorf("the server at %s: %v", client.ServerName, err)
	}
}

// secretData reads the base64 values of the file by their keys; the two Secrets
// share the pair, so that one map holds both.
func secretData(t *testing.T, file string) map[string][]byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data := map[string][]byte{}
	for line := range strings.Lines(string(content)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || !strings.HasPrefix(line, "  ") || !strings.Contains(key, ".") {
			continue
		}
		decoded, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			t.Fatal(err)
		}
		data[key] = decoded
	}
	return data
}
