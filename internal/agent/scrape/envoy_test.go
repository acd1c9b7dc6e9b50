package scrape

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/weftmesh/weft/internal/envoybin"
)

// countsPaths is an Envoy that answers everything, and counts by path and by a header.
const countsPaths = `{"admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}, "stats_flush_interval": "0.1s", "static_resources": {"listeners": [{
"name": "in", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}, "filter_chains": [{"filters": [{"name": "http", "typed_config": {
 "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "in", "max_request_headers_kb": 96,
 "http_filters": [{"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
 "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": ""}, "direct_response": {"status": 200}}]}]},
 "access_log": [{"name": "envoy.access_loggers.stats", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config",
  "stats_scope": {"prefix": "istio"}, "counters": [{"value_fixed": 1, "stat": {"name": "requests_total", "tags": [
   {"name": "path", "value_format": "%REQ(:path)%"}, {"name": "who", "value_format": "%REQ(x-who)%"}]}}]}}]}}]}]}]}}`

// proxy is a running Envoy of that kind.
type proxy struct {
	admin, in string
	stop      func()
}

func startProxy(t *testing.T) proxy {
	t.Helper()
	path, err := envoybin.Ensure(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config, admin := filepath.Join(dir, "envoy.json"), filepath.Join(dir, "admin")
	if err := os.WriteFile(config, []byte(countsPaths), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, "--disable-hot-restart", "--concurrency", "1", "-l", "critical", "-c", config, "--admin-address-path", admin)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := proxy{stop: func() { stop(); _ = cmd.Wait() }}
	t.Cleanup(p.stop)
	until(t, "Envoy listens", func() bool {
		text, _ := os.ReadFile(admin)
		p.admin = string(text)
		p.in = listener(p.admin)
		return p.in != ""
	})
	return p
}

// listener asks Envoy's administration where it listens; "" while that cannot be told.
func listener(admin string) string {
	response, err := http.Get("http://" + admin + "/listeners?format=json")
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	var out struct {
		Listeners []struct {
			Local struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.NewDecoder(response.Body).Decode(&out); err != nil || len(out.Listeners) == 0 {
		return ""
	}
	s := out.Listeners[0].Local.Socket
	return fmt.Sprintf("%s:%d", s.Address, s.Port)
}

// until waits for what must come.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !condition(); {
		if time.Now().After(end) {
			t.Fatalf("not in a minute: %s", what)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// call sends one request after the other on a connection, as its bytes say, and gives
// how many were answered with 200.
func (p proxy) call(t *testing.T, requests ...[2]string) (good int) {
	t.Helper()
	conn, err := net.Dial("tcp", p.in)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for _, r := range requests {
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a\r\nx-who: %s\r\n\r\n", r[0], r[1]); err != nil {
			return good
		}
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			return good
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			good++
		}
	}
	return good
}

// What callers can write into labels of a real Envoy never costs the page.
func TestHostileCallers(t *testing.T) {
	p := startProxy(t)
	r := newReader(t, http.NotFoundHandler(), 0)
	r.page.envoy = "http://" + p.admin + "/stats/prometheus"
	long := strings.Repeat("y", 10_000)
	sent := map[string]string{
		"/quote": `a"b\c\"`, "/braces": `},le="1"} 9 # {`, "/empty": `=""`, "/unicode": "日本 ß \u202e", "/bytes": "a\xff\xfeb", "/tab": "a\tb", "/long": long, "/" + long: "longer", "/none": "",
		"/name": "envoy_istio_x 5",
	}
	answered := map[string]string{}
	for path, who := range sent {
		if p.call(t, [2]string{path, who}) == 1 {
			answered[path] = who
		}
	}
	p.call(t, [2]string{"/" + strings.Repeat("z", 70_000), "too long for a line"})
	if len(answered) < 8 {
		t.Fatalf("Envoy took only %v", answered)
	}
	until(t, "all are counted", func() bool {
		w := httptest.NewRecorder()
		r.page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/?filter=%5Eistio", nil))
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(bytes.NewReader(w.Body.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]string{}
		for _, m := range families["istio_requests_total"].GetMetric() {
			l := map[string]string{}
			for _, pair := range m.GetLabel() {
				l[pair.GetName()] = pair.GetValue()
			}
			have[l["path"]] = l["who"]
		}
		for path, who := range answered {
			if got, there := have[path]; !there || got != strings.ToValidUTF8(who, "\uFFFD") && who != "" {
				t.Logf("%.20s is %.40q, %t", path, got, there)
				return false
			}
		}
		return true
	})
}

// Thousands of paths on a real Envoy: the page keeps to its budget and loses no request;
// while Envoy is away the rest is there, and with a new one all starts anew.
func TestThousandsOfPaths(t *testing.T) {
	p := startProxy(t)
	r := newReader(t, http.NotFoundHandler(), 200)
	r.page.envoy = "http://" + p.admin + "/stats/prometheus"
	sent := 0
	for round := range 3 {
		var requests [][2]string
		for i := range 1000 {
			requests = append(requests, [2]string{fmt.Sprintf("/%d/%d", round, i), "a"})
		}
		sent += p.call(t, requests...)
		r.page.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		until(t, "all are counted", func() bool {
			w := httptest.NewRecorder()
			r.page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			series, total := requestsOn(t, w.Body)
			return series <= 200 && total == float64(sent)
		})
	}
	p.stop()
	w := httptest.NewRecorder()
	r.page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "istio_agent_scrapes_total") {
		t.Errorf("without Envoy: %d\n%s", w.Code, w.Body)
	}
	p = startProxy(t)
	r.page.envoy = "http://" + p.admin + "/stats/prometheus"
	p.call(t, [2]string{"/new", "a"})
	until(t, "the new Envoy's are shown", func() bool {
		w := httptest.NewRecorder()
		r.page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		return strings.Contains(w.Body.String(), `istio_requests_total{path="/new",who="a"} 1`)
	})
}

// requestsOn counts the series on a page, and what they count.
func requestsOn(t *testing.T, page io.Reader) (series int, total float64) {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families["istio_requests_total"].GetMetric() {
		series++
		total += m.GetCounter().GetValue()
	}
	return series, total
}
