package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMachineFolder: a shell reads start.sh, whatever is in a name, and only
// its owner reads the token.
func TestMachineFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	m := &joining{
		Entry: "legacy-1", Namespace: "shop", Account: "legacy", Address: "192.0.2.7", Group: "legacy", System: "weft-system",
		Labels: `{"app":"it's $(touch /tmp/x) ` + "`id`" + `"}`, Pilot: "192.0.2.1:15012", CA: "[2001:db8::1]:15012", token: "t", roots: []byte("r"),
	}
	for range 2 { // the second time in place of the first
		if err := m.write(dir); err != nil {
			t.Fatal(err)
		}
	}
	script, err := os.ReadFile(filepath.Join(dir, "start.sh"))
	if err != nil {
		t.Fatal(err)
	}
	var export string
	for line := range strings.Lines(string(script)) {
		if strings.HasPrefix(line, "export ") {
			export += line
		}
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", export+`printf %s "$ISTIO_METAJSON_LABELS"`).CombinedOutput()
	if err != nil || string(out) != m.Labels {
		t.Errorf("a shell reads the labels as %s, %v; want %s", out, err, m.Labels)
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-n", filepath.Join(dir, "start.sh")).CombinedOutput(); err != nil {
		t.Errorf("sh -n: %s%v", out, err)
	}
	for name, want := range map[string]os.FileMode{"token": 0o600, "start.sh": 0o755, "root-cert.pem": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v; want %v", name, info.Mode().Perm(), err, want)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v", info.Mode().Perm(), err)
	}
}
