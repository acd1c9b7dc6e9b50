package local

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/dashboard"
	"github.com/weftmesh/weft/internal/figures"
)

const canary = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: canary}
spec:
  hosts: [details]
  http: [{route: [{destination: {host: details}, weight: 75}, {destination: {host: details, port: {number: 80}}, weight: 25}]}]
`

// page is an open weft dashboard.
type page struct{ address, token string }

// read reads what the page reads.
func (p page) read(t *testing.T, path string) ([]byte, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.address+path, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return text, err
}

func (p page) told(t *testing.T, path string, into any) error {
	t.Helper()
	text, err := p.read(t, path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// watches follows requests to a workload, and sends some until one is shown.
func (p page) watches(t *testing.T, m *running) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.address+"/api/tap?kind=workload&namespace=default&name=front", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(resp.Body); in.Scan(); {
			select {
			case lines <- in.Text():
			case <-t.Context().Done():
				return
			}
		}
	}()
	eventually(t, patience, "a request is shown", func() error {
		_, _, _ = m.get(t, "/?seen")
		select {
		case line := <-lines:
			if strings.Contains(line, `"path":"/?seen"`) && strings.Contains(line, `"workload":"front"`) {
				return nil
			}
			return fmt.Errorf("%s", line)
		default:
			return errors.New("nothing yet")
		}
	})
}

// openPage begins a command that serves a page, and finds its address.
func openPage(t *testing.T, m *running, args ...string) (*spoken, page) {
	t.Helper()
	c := m.begin(t, append(args, "--no-open", "--name", m.Name)...)
	address, token, _ := strings.Cut(strings.TrimSpace(c.await(t, "http://127.0.0.1:")), "#token=")
	return c, page{strings.TrimSuffix(address, "/"), token}
}

// The dashboard of a running mesh says what was sent, what is wanted, and what is
// in force; the pages of an Envoy can be read.
func TestDashboard(t *testing.T) {
	m := up(t, folder(t))
	save(t, filepath.Join(m.Dir, "canary.yaml"), canary)
	c, p := openPage(t, m, "dashboard")
	eventually(t, patience, "the page has the calls", func() error {
		var now dashboard.Now
		if err := p.told(t, "/api/now?window=10", &now); err != nil {
			return err
		}
		if code, _, _ := m.get(t, "/"); code != http.StatusOK {
			return fmt.Errorf("the gateway answers %d", code)
		}
		if now.Mesh.Name != m.Name || !now.Mesh.Local {
			t.Fatalf("mesh %+v", now.Mesh)
		}
		if !slices.ContainsFunc(now.Edges, func(e figures.Edge) bool {
			return e.From.Workload == "front" && e.To.Workload == "details" && e.Requests > 0 && e.SuccessRate != nil && *e.SuccessRate == 1 && e.MutualTLS != nil && *e.MutualTLS == 1
		}) {
			return fmt.Errorf("edges %+v, failed %q, missing %q", now.Edges, now.Failed, now.Missing)
		}
		return nil
	})
	eventually(t, patience, "it knows what is wanted and in force", func() error {
		var config dashboard.Config
		if err := p.told(t, "/api/config", &config); err != nil {
			return err
		}
		object := slices.IndexFunc(config.Objects, func(o dashboard.Object) bool { return o.Name == "canary" })
		if object < 0 || config.Objects[object].Programmed != "live" || len(config.Splits) != 1 {
			return fmt.Errorf("%+v", config)
		}
		if to := config.Splits[0].Destinations; to[0].Share != 0.75 || to[1].Share != 0.25 || !slices.Equal(to[0].Workloads, []string{"details"}) {
			t.Fatalf("%+v", to)
		}
		return nil
	})
	text, err := p.read(t, "/api/object?kind=VirtualService&namespace=default&name=canary")
	if err != nil || !strings.Contains(string(text), "weight: 75") {
		t.Errorf("%v: %s", err, text)
	}
	eventually(t, patience, "its charts begin", func() error {
		var past dashboard.History
		if err := p.told(t, "/api/history?kind=workloads&namespace=default&name=details", &past); err != nil || len(past.Points) == 0 {
			return fmt.Errorf("%v, %+v", err, past)
		}
		return nil
	})
	p.watches(t, m)
	c.ends(t, os.Interrupt, 0)
	c, p = openPage(t, m, "dashboard", "envoy", "front")
	eventually(t, patience, "the pages of an Envoy can be read", func() error {
		text, err := p.read(t, "/server_info")
		if err == nil && !strings.Contains(string(text), `"state": "LIVE"`) {
			err = fmt.Errorf("%s", text)
		}
		return err
	})
	c.ends(t, os.Interrupt, 0)
}
