package guides

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weftmesh/weft/samples/bookshop/load"
	"github.com/weftmesh/weft/test/guide"
)

// The guides for a cluster work as they are written, one after the other.
func TestGuides(t *testing.T) {
	w := newWorld(t)
	install, envoy := readGuide(t, "install.md", "sh"), readGuide(t, "from-plain-envoy.md", "sh cluster")
	for _, g := range []struct {
		name string
		do   func(w *world)
	}{
		{"plain envoy without a mesh", func(w *world) { plainEnvoy(w, envoy, "1.") }},
		{"install", func(w *world) { w.follow(install, nil, "1.", "2.", "3.") }},
		{"canary", canary},
		{"grpc", grpc},
		{"rotate the root", func(w *world) { w.follow(readGuide(w.T, "rotate-root.md", "sh cluster"), nil) }},
		{"plain envoy to Weft", func(w *world) { plainEnvoy(w, envoy, "2.", "3.", "4.", "5.", "6.") }},
		{"ingress to Weft", func(w *world) { w.follow(readGuide(w.T, "from-nginx-ingress.md", "sh"), nil) }},
		{"upgrade", upgrade},
		{"uninstall", func(w *world) { w.follow(install, nil, "5.") }},
		{"namespaced", namespaced},
	} {
		if !t.Run(g.name, func(t *testing.T) { g.do(w.on(t)) }) {
			return // each stands on the one before it
		}
	}
}

func canary(w *world) {
	g := readGuide(w.T, "canary.md", "sh")
	w.follow(g, seen{"--requests": share("reviews", 90)}, "1.", "2.")
	w.follow(g, seen{"--requests": share("reviews", 50)}, "3.")
	w.follow(g, seen{"stat routes": halves}, "4.")
	w.follow(g, nil, "5.", "6.", "7.")
}

func grpc(w *world) {
	g := readGuide(w.T, "grpc.md", "sh")
	w.follow(g, seen{"grpc-load": spread(1)}, "1.")
	w.follow(g, seen{"grpc-load": spread(3)}, "2.")
	w.follow(g, seen{"grpc-load": spread(5)}, "3.")
	w.follow(g, seen{"grpc-load": spread(4)}, "4.", "5.")
}

// plainEnvoy: one connection to the pods' name has one pod until its client has a
// sidecar; to the Envoy, and ever after, all three.
func plainEnvoy(w *world, g *guide.Guide, headings ...string) {
	w.follow(g, seen{
		"deploy/client -- /bin/bookshop grpc-load --target ratings": spread(1), "--target front": spread(3),
		"-c client -- /bin/bookshop grpc-load --target ratings": spread(3),
	}, headings...)
}

// upgrade: both ways, and no request of a client outside of the cluster fails.
func upgrade(w *world) {
	g := readGuide(w.T, "upgrade.md", "sh")
	for n, heading := range []string{"In place", "By revision"} {
		w.fetch(versions[1+n])
		stop := w.load()
		w.follow(g, nil, heading)
		stop(heading)
	}
}

// load asks for the shop's page through the gateway's port of a node, 40 times a
// second, over connections that are kept for 200 requests. The function that it
// gives ends it and says what failed.
func (w *world) load() (stop func(what string)) {
	w.Helper()
	port, err := w.bash(`kubectl get service -n weft-system istio-ingressgateway -o jsonpath='{.spec.ports[?(@.name=="http2")].nodePort}'`)
	if err != nil {
		w.Fatal(err)
	}
	url := "http://" + w.Node(1).Address().String() + ":" + port + "/"
	var ended atomic.Bool
	var sum load.Report
	done := make(chan error, 1)
	go func() {
		for !ended.Load() {
			r, err := w.requests(w.Context(), url)
			if err != nil {
				done <- err
				return
			}
			sum.Total, sum.Failed, sum.Errors = sum.Total+r.Total, sum.Failed+r.Failed, append(sum.Errors, r.Errors...)
		}
		done <- nil
	}()
	return func(what string) {
		w.Helper()
		ended.Store(true)
		err := <-done
		w.Logf("%s: %d requests, %d failed", what, sum.Total, sum.Failed)
		if err != nil || sum.Failed > 0 || sum.Total == 0 {
			w.Errorf("%s: %d of %d requests failed: %q (%v)", what, sum.Failed, sum.Total, sum.Errors, err)
		}
	}
}

func (w *world) requests(ctx context.Context, url string) (load.Report, error) {
	var r load.Report
	out, err := w.Client(ctx, filepath.Join(w.dir, "bin", "bookshop"), "load", "--url", url, "--requests", "200", "--rps", "40", "--timeout", "30s")
	if err == nil {
		err = json.NewDecoder(strings.NewReader(out)).Decode(&r)
	}
	if err != nil {
		return r, fmt.Errorf("%w: %s", err, out)
	}
	return r, nil
}
