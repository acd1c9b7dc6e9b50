// Package outage tests on a real cluster that what runs goes on while the
// cluster's API server or parts of the control plane are away, that what cannot
// be done then is refused with a reason, and that all is in order afterwards.
//
// Two outages of a minute, after a change of the mesh's root: the API server's, with pilot and CA there; then that
// of pilot, CA and injector at once, for each of them is a different matter of
// different people: configuration, certificates, new pods.
package outage

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/e2e/steady"
)

// away is how long an outage lasts.
const away = time.Minute

func TestOutages(t *testing.T) {
	b := &bench{Bench: steady.NewBench(t, "ca.reportEvery=5s")}
	shop, err := os.ReadFile("shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b.Must(string(shop), "apply", "-f", "-")
	b.Ready("shop/echo")
	b.start()
	for _, part := range []struct {
		name string
		run  func(*bench)
	}{
		{"root", (*bench).root},
		{"API server", (*bench).apiServer},
		{"pilot, CA and injector", (*bench).controlPlane},
	} {
		t.Run(part.name, func(t *testing.T) {
			on := *b
			on.Bench = b.On(t)
			part.run(&on)
		})
	}
}

// bench is the cluster with its load.
type bench struct {
	*steady.Bench
	lan, pod *steady.Load
	door     string // the gateway's URL
}

func (b *bench) start() {
	b.Helper()
	b.door = fmt.Sprintf("http://%s:%s", b.Node(1).Address(), b.NodePort("http2"))
	every := steady.Duration(100 * time.Millisecond)
	b.lan = b.FromLAN(
		steady.Target{Name: "kept connections", URL: b.door + "/", Connection: steady.Keep, Clients: 2, Every: every},
		steady.Target{Name: "new connections", URL: b.door + "/", Connection: steady.New, Clients: 1, Every: every},
	)
	b.pod = b.InPod("caller",
		steady.Target{Name: "kept connections", URL: "http://echo/", Connection: steady.Keep, Clients: 2, Every: every},
		steady.Target{Name: "new connections", URL: "http://echo/", Connection: steady.New, Clients: 1, Every: every},
	)
	b.Flows(b.lan)
	b.Flows(b.pod)
}

// last waits for the end of an outage that began then.
func last(began time.Time) { <-time.After(time.Until(began.Add(away))) }

// clean: not one request failed since then.
func (b *bench) clean(since time.Time, while string) {
	b.Helper()
	b.Clean(b.lan, since, while)
	b.Clean(b.pod, since, while)
}

// brief is a pod of that name whose certificates hold for so long, and its
// address once it is ready.
func (b *bench) brief(name string, life time.Duration) (address string) {
	b.Helper()
	b.Must(fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: shop, labels: {app: %[1]s}, annotations: {proxy.istio.io/config: "proxyMetadata: {SECRET_TTL: %v}"}},
 spec: {containers: [{name: app, image: "localhost/weft-test/app:1", args: [serve]}]}}`, name, life), "apply", "-f", "-")
	b.Must("", "-n", "shop", "wait", "--for=condition=Ready", "pod/"+name, "--timeout=90s")
	return b.Must("", "-n", "shop", "get", "pod", name, "-o", "jsonpath={.status.podIP}")
}

// addresses are those of a Deployment's pods in weft-system, by its label app.
func (b *bench) addresses(app string) []string {
	b.Helper()
	return strings.Fields(b.Must("", "-n", "weft-system", "get", "pods", "-l", "app="+app, "-o", "jsonpath={.items[*].status.podIP}"))
}

// metric is the greatest value of a metric at any of some pages, which are read
// from the LAN, as a Prometheus outside of the cluster would. Labels need not
// be given.
func (b *bench) metric(name string, pages ...string) (greatest float64, err error) {
	found := false
	for _, page := range pages {
		text, err := b.Client(b.Context(), b.App, "ask", page)
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(text) {
			rest, ok := strings.CutPrefix(line, name)
			fields := strings.Fields(line)
			if !ok || len(fields) != 2 || rest[0] != ' ' && rest[0] != '{' {
				continue
			}
			v, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				return 0, err
			}
			greatest, found = max(greatest, v), true
		}
	}
	if !found {
		return 0, fmt.Errorf("%s is not at %v", name, pages)
	}
	return greatest, nil
}

// becomes waits for a metric to have a value.
func (b *bench) becomes(name string, want float64, pages ...string) {
	b.Helper()
	b.Eventually(fmt.Sprintf("%s is %v", name, want), func() error {
		if got, err := b.metric(name, pages...); err != nil || got != want {
			return fmt.Errorf("it is %v, %v", got, err)
		}
		return nil
	})
}

// agentPage and componentPage are where metrics are.
func agentPage(ip string) string     { return "http://" + ip + ":15020/stats/prometheus" }
func componentPage(ip string) string { return "http://" + ip + ":15014/metrics" }

// States of gobreaker, as its metrics have them.
const (
	closed = 0
	open   = 2
)

// refusedWith: a command of weft fails, and says what is the matter.
func (b *bench) refusedWith(want string, args ...string) {
	b.Helper()
	s := b.Weft("", args...)
	b.Logf("weft %s: %v", strings.Join(args, " "), s)
	if s.Code == 0 || !strings.Contains(s.All(), want) {
		b.Errorf("weft %s does not fail with %q: %v", strings.Join(args, " "), want, s)
	}
}

// route makes the gateway answer at a path that nobody had before.
func (b *bench) route(path string) {
	b.Helper()
	b.Must(fmt.Sprintf(`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: shop, namespace: shop}, spec: {hosts: ["*"], gateways: [shop],
 http: [{match: [{uri: {exact: %q}}], directResponse: {status: 299}}, {route: [{destination: {host: echo}}]}]}}`, path), "apply", "-f", "-")
}

// routed waits until it does.
func (b *bench) routed(path string) {
	b.Helper()
	b.Eventually("the gateway has the route "+path, func() error {
		out, err := b.Client(b.Context(), b.App, "ask", b.door+path)
		if err == nil && strings.TrimSpace(out) != "" {
			return fmt.Errorf("echo answers: %s", out)
		}
		return err
	})
}
