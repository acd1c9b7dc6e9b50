package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGRPCBootstrap: the file has what gRFC A27 and A29 ask for, and holds who
// the process is.
func TestGRPCBootstrap(t *testing.T) {
	file := filepath.Join(t.TempDir(), "grpc.json")
	if code, _, err := run(t, "grpc-bootstrap", "--server", "pilot.example.com:15012", "-n", "shop", "--pod", "billing-1", "--certificates", "/etc/billing/tls", "-l", "app=billing", "-o", file); code != 0 {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Servers []struct {
			URI   string `json:"server_uri"`
			Creds []struct{ Type string }
		} `json:"xds_servers"`
		Node struct {
			ID       string
			Metadata map[string]any
		}
		Providers map[string]any `json:"certificate_providers"`
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Servers) != 1 || got.Servers[0].URI != "pilot.example.com:15012" || got.Node.ID != "sidecar~127.0.0.1~billing-1.shop~shop.svc.cluster.local" ||
		got.Node.Metadata["GENERATOR"] != "grpc" || got.Providers["default"] == nil || !strings.Contains(string(text), "/etc/billing/tls/key.pem") {
		t.Errorf("got %s", text)
	}
}

// TestGRPCBootstrapSaysWhatLacks: a pilot by TLS wants a certificate.
func TestGRPCBootstrapSaysWhatLacks(t *testing.T) {
	for args, want := range map[string]string{
		"--server=pilot:15012":        "wants a certificate",
		"--plaintext --ip=here":       "--ip",
		"--plaintext --namespace= ":   "namespace is empty",
		"--server= --certificates=/a": "no server",
	} {
		if code, _, err := run(t, append([]string{"grpc-bootstrap"}, strings.Fields(args)...)...); code == 0 || !strings.Contains(err, want) {
			t.Errorf("%s: code %d, %s; want %q", args, code, err, want)
		}
	}
}
