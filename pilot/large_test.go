package pilot_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	manyRoutes = 10_000
	manyHosts  = 1000
	// largePatience bounds the waits for objects of that size.
	largePatience = 90 * time.Second
)

// manyRoutesObject is a VirtualService of one host with a route for each of
// 10,000 paths. Each says in an answer which it is; mark is said by the last.
func manyRoutesObject(mark string) string {
	var b bytes.Buffer
	b.WriteString("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: many-routes}\nspec:\n  hosts: [many.example.com]\n  gateways: [door]\n  http:\n")
	for i := range manyRoutes {
		answer := fmt.Sprint(i)
		if i == manyRoutes-1 {
			answer = mark
		}
		fmt.Fprintf(&b, "  - {match: [{uri: {exact: /path/%d}}], headers: {response: {set: {x-route: '%s'}}}, route: [{destination: {host: reviews}}]}\n", i, answer)
	}
	return b.String()
}

// manyHostsObject is a VirtualService of 1,000 hosts with a route.
func manyHostsObject() string {
	var b bytes.Buffer
	b.WriteString("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: many-hosts}\nspec:\n  gateways: [door]\n  hosts:\n")
	for i := range manyHosts {
		fmt.Fprintf(&b, "  - host-%d.example.com\n", i)
	}
	b.WriteString("  http: [{headers: {response: {set: {x-route: hosts}}}, route: [{destination: {host: reviews}}]}]\n")
	return b.String()
}

const oneMoreHost = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: one}
spec: {hosts: [one.example.com], gateways: [door], http: [{headers: {response: {set: {x-route: '%s'}}}, route: [{destination: {host: reviews}}]}]}
`

// TestLargeObjectsLive: an Envoy takes an object of 10,000 routes and one of
// 1,000 hosts, the last of each is answered, and an edit of one route sends its
// host and nothing of the others.
func TestLargeObjectsLive(t *testing.T) {
	l := startLive(t)
	l.write("routes.yaml", manyRoutesObject("first"))
	l.write("hosts.yaml", manyHostsObject())
	l.write("one.yaml", fmt.Sprintf(oneMoreHost, "first"))
	start := time.Now()
	l.startEnvoy()
	last, lastHost := fmt.Sprintf("/path/%d", manyRoutes-1), fmt.Sprintf("host-%d.example.com", manyHosts-1)
	for _, want := range []struct{ host, path, route string }{
		{"many.example.com", last, "first"}, {"many.example.com", "/path/0", "0"}, {lastHost, "/", "hosts"}, {"host-0.example.com", "/", "hosts"},
	} {
		within(t, largePatience, "an answer of "+want.host+want.path, func() bool { return l.routeOf(want.host, want.path) == want.route })
	}
	sent := sentBytes(t, l.addrs.Monitoring)
	t.Logf("live after %v; %d bytes of virtual hosts; Envoy holds %d MB", time.Since(start), sent["vhds"], l.allocated(t)>>20)
	if held := l.allocated(t); held > 500<<20 {
		t.Errorf("Envoy holds %d MB", held>>20)
	}

	one := l.edit(t, "one.yaml", fmt.Sprintf(oneMoreHost, "second"), "one.example.com", "/")
	if one["vhds"] == 0 || one["vhds"] > 2048 || len(one) > 1 {
		t.Errorf("an edit of a small host beside them sent %v bytes", one)
	}
	many := l.edit(t, "routes.yaml", manyRoutesObject("second"), "many.example.com", last)
	if many["vhds"] == 0 || many["vhds"] > 600*manyRoutes || len(many) > 1 {
		t.Errorf("an edit of one route of %d sent %v bytes", manyRoutes, many)
	}
	for line := range strings.Lines(l.admin("/stats?filter=update_rejected")) {
		if !strings.HasSuffix(strings.TrimSpace(line), " 0") {
			t.Errorf("Envoy refused something: %s", line)
		}
	}
}

// edit writes a file and waits until a route of it says "second". It returns
// the bytes of resources that were sent for it, by type.
func (l *live) edit(t *testing.T, file, text, host, path string) map[string]int {
	t.Helper()
	before, start := sentBytes(t, l.addrs.Monitoring), time.Now()
	l.write(file, text)
	within(t, largePatience, "the edited route of "+host, func() bool { return l.routeOf(host, path) == "second" })
	took := time.Since(start)
	sent := map[string]int{}
	for kind, n := range sentBytes(t, l.addrs.Monitoring) {
		if n > before[kind] {
			sent[kind] = n - before[kind]
		}
	}
	t.Logf("%s: live after %v, sent %v bytes", file, took, sent)
	return sent
}

// routeOf asks the gateway, and returns which route answered.
func (l *live) routeOf(host, path string) string {
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", l.port, path), nil)
	if err != nil {
		l.t.Fatal(err)
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		return ""
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return ""
	}
	return resp.Header.Get("x-route")
}

// allocated is what Envoy has on its heap, in bytes.
func (l *live) allocated(t *testing.T) (bytes int64) {
	t.Helper()
	var memory struct {
		Allocated int64 `json:"allocated,string"`
	}
	if err := json.Unmarshal([]byte(l.admin("/memory")), &memory); err != nil {
		t.Fatal(err)
	}
	return memory.Allocated
}
