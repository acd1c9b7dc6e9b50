// Package prometheus runs a real Prometheus for tests (Debian: apt-get install
// prometheus).
//
// In: the address of a page. Out: the address of a Prometheus that scrapes it. Only
// tests import it.
package prometheus

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Start has a Prometheus scrape the page at http://ADDRESS/ each second, until t
// ends, and returns its own address, HOST:PORT. It is not up yet. Labels of the page
// are taken as they are. Without the program t is skipped, in CI it fails.
func Start(t *testing.T, page string) (address string) {
	t.Helper()
	program := Program(t, "prometheus")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	_ = l.Close()
	dir := t.TempDir()
	config := "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs: [{job_name: pod, metrics_path: /, honor_labels: true, static_configs: [{targets: ['" +
		strings.TrimPrefix(page, "http://") + "']}]}]\n"
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); _ = cmd.Wait() })
	return address
}

// Program is the path of prometheus or promtool. Without it t is skipped, in CI it fails.
func Program(t *testing.T, name string) (path string) {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err != nil && os.Getenv("CI") != "":
		t.Fatalf("%v: on Debian, apt-get install prometheus", err)
	case err != nil:
		t.Skipf("%v: on Debian, apt-get install prometheus", err)
	}
	return path
}
