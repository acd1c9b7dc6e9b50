package pilot

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/source"
	"github.com/weftmesh/weft/internal/source/memory"
	"github.com/weftmesh/weft/pilot/internal/xds"
)

func service(ns, name string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: %s}\nspec: {clusterIP: 10.96.0.%d, ports: [{name: http, port: 80}]}\n", name, ns, 1+len(name))
}

func endpoints(svc, address string) string {
	return fmt.Sprintf("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: %[1]s, namespace: shop, labels: {kubernetes.io/service-name: %[1]s}}\n"+
		"addressType: IPv4\nports: [{name: http, port: 8080, protocol: TCP}]\nendpoints: [{addresses: [%[2]s], conditions: {ready: true}}]\n", svc, address)
}

func routes(ns, name, host, exportTo string) string {
	return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: %s, namespace: %s}\n"+
		"spec: {exportTo: [%[4]q], hosts: [%[3]s], http: [{timeout: 5s, route: [{destination: {host: %[3]s}}]}]}\n", name, ns, host, exportTo)
}

func setOf(t *testing.T, texts ...string) config.Set {
	t.Helper()
	src := memory.New()
	for i, text := range texts {
		if found := src.ApplyYAML(fmt.Sprintf("%d.yaml", i), text); len(found) > 0 {
			t.Fatal(found)
		}
	}
	return src.Set()
}

func newTestEngine() *engine {
	reg := prometheus.NewRegistry()
	return newEngine(xds.NewServer(xds.Options{Metrics: reg}), slog.New(slog.DiscardHandler), reg)
}

// TestUnrelatedEditPushesNothing is law 3 on the whole pipeline: what a class
// does not see changes nothing of its snapshot, and one edit little.
func TestUnrelatedEditPushesNothing(t *testing.T) {
	e := newTestEngine()
	src := memory.New()
	apply := func(text string) config.Set {
		if found := src.ApplyYAML("x.yaml", text); len(found) > 0 {
			t.Fatal(found)
		}
		return src.Set()
	}
	for i := range 20 {
		apply(service("shop", fmt.Sprintf("svc%02d", i)))
	}
	apply(service("other", "hidden"))
	l := newLine(model.ProxyClass{Role: model.RoleOutbound, Namespace: "shop"})
	before := l.snapshot(e.compiler.Mesh(src.Set()).Mesh)
	changes := func(text string) (n int) {
		after := l.snapshot(e.compiler.Mesh(apply(text)).Mesh)
		for _, typeURL := range xds.Order() {
			for key, res := range after.Of(typeURL).All() {
				if old, ok := before.Of(typeURL).Get(key); !ok || old.Version != res.Version {
					n++
				}
			}
		}
		before = after
		return n
	}
	// Exported to its own namespace only, which is not shop.
	if n := changes(routes("other", "hidden", "hidden.other.svc.cluster.local", ".")); n != 0 {
		t.Errorf("a VirtualService that shop does not see changed %d of its resources", n)
	}
	if n := changes(routes("shop", "svc03", "svc03.shop.svc.cluster.local", "*")); n != 1 {
		t.Errorf("one VirtualService changed %d resources, want its virtual host alone", n)
	}
	if n := changes(endpoints("svc05", "10.1.1.1")); n != 1 {
		t.Errorf("one EndpointSlice changed %d resources, want one assignment", n)
	}
}

func TestEndpointsDoNotWaitForConfig(t *testing.T) {
	e, in := newTestEngine(), newInbox()
	base := []string{service("shop", "a")}
	in.put(source.State{Set: setOf(t, base...)})
	e.step(in)
	e.pace = pacer{last: time.Now(), pause: time.Hour} // under load
	slow := routes("shop", "a", "a.shop.svc.cluster.local", "*")
	in.put(source.State{Set: setOf(t, append(base, slow, endpoints("a", "10.1.1.1"))...)})
	e.step(in)
	mesh := e.outcome.Load().result.Mesh
	if eps, _ := mesh.Endpoints.Get("a.shop.svc.cluster.local"); len(eps.Of(80)) != 1 {
		t.Error("the endpoint waited for the hold-off")
	}
	if mesh.VirtualServices.Len() != 0 {
		t.Error("the VirtualService did not wait")
	}
	e.pace = pacer{}
	e.step(in)
	if e.outcome.Load().result.Mesh.VirtualServices.Len() != 1 {
		t.Error("the VirtualService is not in force after the hold-off")
	}
	if _, since := in.peek(); !since.IsZero() {
		t.Error("the inbox is not empty")
	}
}

func TestPace(t *testing.T) {
	now := time.Now()
	var p pacer
	if p.wait(now) != 0 {
		t.Error("the first change waits")
	}
	p.ran(now)
	for range 20 { // changes as fast as they are let through
		now = now.Add(p.wait(now))
		p.ran(now)
	}
	if p.pause != maxPause {
		t.Errorf("after a long burst the pause is %v, want %v", p.pause, maxPause)
	}
	now = now.Add(maxPause + calm + time.Millisecond)
	if p.wait(now) != 0 {
		t.Error("a change after a quiet time waits")
	}
	p.ran(now)
	if p.pause != firstPause {
		t.Errorf("after a quiet time the pause is %v", p.pause)
	}
}

func TestCheckAndTranslate(t *testing.T) {
	set := setOf(t, service("shop", "a"), routes("shop", "a", "a.shop.svc.cluster.local", "*"), routes("shop", "bad", "nowhere", "*"))
	if found := Check(set); len(found) == 0 || found[0].Object.Name != "bad" || found[0].Severity != diag.Error {
		t.Errorf("findings: %v", found)
	}
	var names []string
	for _, r := range Translate(set, model.Proxy{Proven: true, Sidecar: true, Name: "p", Namespace: "shop"}) {
		names = append(names, r.Name)
		if !json.Valid(JSON(r)) {
			t.Errorf("%s: no JSON: %s", r.Name, JSON(r))
		}
	}
	all := strings.Join(names, " ")
	for _, want := range []string{"outbound|80||a.shop.svc.cluster.local", "80/a.shop.svc.cluster.local:80", "virtualInbound"} {
		if !strings.Contains(all, want) {
			t.Errorf("%s is missing in %s", want, all)
		}
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no source":    {InsecureXDS: "127.0.0.1:0"},
		"neither":      {Source: memory.New()},
		"certificate":  {Source: memory.New(), XDS: ":0"},
		"not loopback": {Source: memory.New(), InsecureXDS: "0.0.0.0:15010"},
		"want IP:PORT": {Source: memory.New(), InsecureXDS: ":15010"},
	} {
		if err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("want an error with %q, got %v", name, err)
		}
	}
}

func TestMonitoring(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan Addresses, 1), make(chan error, 1)
	src := memory.New()
	src.ApplyYAML("a.yaml", service("shop", "a"))
	go func() {
		ended <- Run(ctx, Options{
			Source: src, InsecureXDS: "127.0.0.1:0", Monitoring: "127.0.0.1:0", Ready: "127.0.0.1:0", Version: "1.2.3-weft",
			Log: slog.New(slog.DiscardHandler), Started: func(a Addresses) { started <- a },
		})
	}()
	addrs := <-started
	base := "http://" + addrs.Monitoring
	deadline := time.Now().Add(10 * time.Second)
	for status, _ := fetch(t, "http://"+addrs.Ready+"/ready"); status != http.StatusOK; status, _ = fetch(t, "http://"+addrs.Ready+"/ready") {
		if time.Now().After(deadline) {
			t.Fatal("not ready")
		}
	}
	for path, want := range map[string]string{
		"/version": "1.2.3-weft", "/metrics": `pilot_info{version="1.2.3-weft"} 1`, "/debug/registryz": "a.shop.svc.cluster.local",
		"/debug/syncz": "[]", "/debug/sync": `"streams": []`, "/ready": "ready",
	} {
		if status, body := fetch(t, base+path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.200s, want %q", path, status, body, want)
		}
	}
	if status, body := fetch(t, base+"/debug/config_dump?proxyID=x.y"); status != http.StatusNotFound || !strings.Contains(body, "x.y") {
		t.Errorf("config_dump of nobody: %d %s", status, body)
	}
	if _, body := fetch(t, base+"/metrics"); !strings.Contains(body, "pilot_services 1") || !strings.Contains(body, "# HELP pilot_xds ") {
		t.Errorf("metrics lack services or help:\n%s", body)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run returned %v", err)
	}
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

func TestDebugIsForLoopback(t *testing.T) {
	counts := map[string]int{}
	d := door{refused: func(reason string) { counts[reason]++ }, log: slog.New(slog.DiscardHandler)}
	h := d.open(func(http.ResponseWriter, *http.Request, caller) error { return nil })
	for addr, want := range map[string]int{"127.0.0.1:9": 200, "[::1]:9": 200, "[::ffff:127.0.0.1]:9": 200, "10.0.0.1:9": 403, "": 403} {
		r, w := httptest.NewRequest(http.MethodGet, "/debug/syncz", nil), httptest.NewRecorder()
		r.RemoteAddr = addr
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("a caller at %q got %d, want %d", addr, w.Code, want)
		}
	}
	if counts["debug"] != 2 {
		t.Errorf("refusals are counted as %v", counts)
	}
}
