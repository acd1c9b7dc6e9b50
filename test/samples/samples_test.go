package samples

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/samples/bookshop/load"
	"github.com/weftmesh/weft/samples/bookshop/shop"
	"github.com/weftmesh/weft/test/stat"
	"github.com/weftmesh/weft/test/weftcli"
)

const calls = 1000

// start brings a sample up, with a port of its gateway published, and returns
// where that is. The test's end takes it down.
func start(t *testing.T, sample string, gatewayPort int) (*weftcli.Mesh, string) {
	t.Helper()
	weft, err := filepath.Abs("../../bin/weft")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(weft); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	port, err := weftcli.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf("127.0.0.1:%d", port)
	mesh := &weftcli.Mesh{
		Binary: weft, Dir: filepath.Join("..", "..", "samples", sample),
		Name: fmt.Sprintf("test-%s-%d", sample, os.Getpid()), Progress: t.Output(),
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := mesh.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := mesh.Up(ctx, fmt.Sprintf("%d=%s", gatewayPort, at)); err != nil {
		t.Fatal(err)
	}
	return mesh, at
}

func TestCanarySplitsByWeight(t *testing.T) {
	_, at := start(t, "canary", 80)
	report := &load.Report{}
	plan := load.Plan{URL: "http://" + at, Requests: calls, Workers: 8, Client: client(t, load.Dial{})}
	if err := load.Run(t.Context(), plan, report.Add); err != nil {
		t.Fatal(err)
	}
	report.Finish()
	seen := report.Services["reviews"]
	if report.Failed != 0 || seen == nil {
		t.Fatalf("%d of %d calls failed, by status %v: %v", report.Failed, report.Total, report.ByStatus, report.Errors)
	}
	if v1, want := seen.ByVersion["v1"], stat.Binomial(calls, 0.9); !want.Contains(v1) {
		t.Errorf("v1 answered %d of %d, want %v", v1, calls, want)
	}
}

func TestBookshopPageHasAllItsPartsAndTheirCallers(t *testing.T) {
	_, at := start(t, "bookshop", 80)
	out := get(t, "http://"+at+"/", load.Dial{})
	if out.Failed() {
		t.Fatalf("got %+v", out)
	}
	callers := map[string]string{
		"frontend": "ns/weft-system/sa/istio-ingressgateway",
		"details":  "ns/default/sa/frontend",
		"reviews":  "ns/default/sa/frontend",
		"ratings":  "ns/default/sa/reviews",
	}
	seen := map[string]bool{}
	out.Answer.Each(func(a shop.Answer) {
		seen[a.Service] = true
		if want := "URI=spiffe://cluster.local/" + callers[a.Service]; !strings.Contains(a.Peer, want) {
			t.Errorf("%s saw %q, want %s", a.Service, a.Peer, want)
		}
	})
	if !seen["frontend"] || !seen["details"] || !seen["reviews"] {
		t.Errorf("a part is missing: %+v", out.Answer)
	}
}

func TestGRPCIsSpreadByCall(t *testing.T) {
	mesh, _ := start(t, "grpc", 80)
	want := stat.Binomial(calls, 1.0/3)
	for _, service := range []string{"ratings", "ratings-vip"} {
		var report load.GRPCReport
		err := mesh.ExecJSON(t.Context(), &report, "client", "../../bin/bookshop", "grpc-load",
			"--target", service+":9000", "--calls", fmt.Sprint(calls))
		if err != nil {
			t.Fatal(err)
		}
		if report.Failed != 0 || report.Connections != 1 || len(report.ByPod) != 3 {
			t.Errorf("%s: got %+v, want 3 pods on 1 connection and no failure", service, report)
		}
		for pod, n := range report.ByPod {
			if !want.Contains(n) {
				t.Errorf("%s: %s answered %d of %d, want %v", service, pod, n, calls, want)
			}
		}
	}
}

func TestTLSGatewayAsksStaffForACertificate(t *testing.T) {
	_, at := start(t, "tls-gateway", 443)
	dir := filepath.Join("..", "..", "samples", "tls-gateway")
	customer := load.Dial{Address: at, CA: filepath.Join(dir, "ca.pem")}
	staff := customer
	staff.Cert, staff.Key = filepath.Join(dir, "client.pem"), filepath.Join(dir, "client-key.pem")
	for _, c := range []struct {
		name, host string
		dial       load.Dial
		served     bool
	}{
		{"anybody at shop", "shop.example.com", customer, true},
		{"staff at staff", "staff.example.com", staff, true},
		{"anybody at staff", "staff.example.com", customer, false},
	} {
		out := get(t, "https://"+c.host+"/", c.dial)
		if served := !out.Failed(); served != c.served {
			t.Errorf("%s: got status %d, error %v, want served %v", c.name, out.Status, out.Err, c.served)
		}
		if gateway := "ns/weft-system/sa/istio-ingressgateway"; c.served && !strings.Contains(out.Answer.Peer, gateway) {
			t.Errorf("%s: details saw %q, want the gateway's identity", c.name, out.Answer.Peer)
		}
	}
	if out := get(t, "https://other.example.com/", customer); !out.Failed() {
		t.Errorf("a host that the gateway does not serve was answered: %+v", out)
	}
}

// client makes a client whose connections end before the mesh is taken down: the
// gateway waits for open ones.
func client(t *testing.T, dial load.Dial) *http.Client {
	t.Helper()
	client, err := load.NewClient(dial)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// get sends one request.
func get(t *testing.T, url string, dial load.Dial) (out load.Outcome) {
	t.Helper()
	plan := load.Plan{URL: url, Requests: 1, Client: client(t, dial)}
	if err := load.Run(t.Context(), plan, func(o load.Outcome) { out = o }); err != nil {
		t.Fatal(err)
	}
	return out
}
