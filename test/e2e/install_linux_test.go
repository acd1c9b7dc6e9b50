package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/e2e/rig"
)

// installWithin is what a fresh install may take once the images are loaded. A
// minute is asked for, on a quiet machine; the test logs the time, and bears one
// that stands still for a while.
const installWithin = 3 * time.Minute

// A user installs Weft, sees that all is well, serves an app through the
// gateway, and removes it again without a trace.
func TestInstallUseUninstall(t *testing.T) {
	w := newWorld(t)
	w.Eventually("the nodes can run Weft", func() error {
		if s := w.Weft("", "check", "--pre"); s.Code != 0 {
			return fmt.Errorf("weft check --pre: %v", s)
		}
		return nil
	})
	before := w.objects()
	if s := w.Weft("", "check"); s.Code != 1 || !strings.Contains(s.All(), "weft install installs it") {
		t.Errorf("check before the install: %v", s)
	}

	began := time.Now()
	out := w.do("install", "-y")
	if took := time.Since(began); took > installWithin {
		t.Errorf("the install took %v, over %v\n%s", took, installWithin, out)
	} else {
		t.Logf("installed and ready in %v", took.Round(time.Millisecond))
	}
	if !strings.Contains(out, "next: kubectl label namespace") {
		t.Errorf("the install does not say what to do next:\n%s", out)
	}
	checkGreen(w)
	if again := w.do("install", "--dry-run"); strings.Contains(again, "(dry run)") {
		t.Errorf("an install done again would change something:\n%s", again)
	}
	if out := w.do("version"); !strings.Contains(out, "weft-system/weft-pilot "+rig.Version) {
		t.Errorf("weft version:\n%s", out)
	}

	useIt(w)

	out = w.do("uninstall", "--purge", "-y")
	if !strings.Contains(out, "pods of namespace shop still have a sidecar") {
		t.Errorf("the uninstall does not say that sidecars are left:\n%s", out)
	}
	w.Must("", "delete", "namespace", "shop", "--wait")
	w.Eventually("nothing is left behind", func() error {
		if d := difference(before, w.objects()); len(d) > 0 {
			return fmt.Errorf("%d objects differ: %s", len(d), strings.Join(d, "\n"))
		}
		return nil
	})
}

// checkGreen: nothing fails, and the LoadBalancer that no one gives an address
// is a warning with its cure.
func checkGreen(w *world) {
	w.Helper()
	out := w.do("check")
	for _, want := range []string{"ok    weft-pilot: ready (2/2)", "ok    weft-ca: ready (2/2)", "ok    weft-injector: ready (2/2)",
		"ok    istio-ingressgateway: ready (2/2)", "warn  istio-ingressgateway: its Service is a LoadBalancer and has no address", "gateways.ingress.type=NodePort"} {
		if !strings.Contains(out, want) {
			w.Errorf("weft check does not say %q:\n%s", want, out)
		}
	}
}

// useIt runs the sample in a namespace with sidecars and calls it from outside
// of the cluster, through the gateway's port of a node.
func useIt(w *world) {
	w.Helper()
	w.Must("", "create", "namespace", "shop")
	w.Must("", "label", "namespace", "shop", "istio-injection=enabled")
	w.Must("", "apply", "-n", "shop", "-f", "../../samples/bookshop")
	w.Must("", "wait", "-n", "shop", "--for=condition=Available", "deployment", "--all", "--timeout=120s")
	port := w.Must("", "get", "service", "-n", "weft-system", "istio-ingressgateway", "-o", `jsonpath={.spec.ports[?(@.name=="http2")].nodePort}`)
	for n := range w.Nodes() {
		node := w.Node(n + 1).Address().String()
		w.Eventually("node "+node+" answers for the shop", func() error {
			out, err := w.Client(w.Context(), w.shop, "get", "http://"+node+":"+port+"/")
			if err == nil && (!strings.Contains(out, `"service": "reviews"`) || !strings.Contains(out, "spiffe://cluster.local/ns/weft-system/sa/istio-ingressgateway")) {
				return fmt.Errorf("it answers %s", out)
			}
			return err
		})
	}
	w.Eventually("every proxy holds what was sent", func() error {
		out := w.do("proxy-status")
		if !strings.Contains(out, ".shop ") || strings.Contains(out, "STALE") || strings.Contains(out, "NOT SENT") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if out := w.do("proxy-config", "routes", "istio-ingressgateway"); !strings.Contains(out, "outbound|80||frontend.shop.svc.cluster.local") {
		w.Errorf("weft proxy-config routes:\n%s", out)
	}
	if out := w.do("proxy-config", "listeners", "-n", "weft-system", "istio-ingressgateway"); !strings.Contains(out, "0.0.0.0:8080") {
		w.Errorf("weft proxy-config listeners:\n%s", out)
	}
}
