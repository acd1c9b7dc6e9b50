package pilot

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"golang.org/x/net/netutil"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/source/memory"
	"github.com/weftmesh/weft/internal/spiffe"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// debugPilot is a pilot with a service, a pod, a finding, a proxy and a NACK in
// each of the namespaces shop and bank.
type debugPilot struct {
	t     *testing.T
	ca    *testCA
	addrs Addresses
	log   *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const debugNamespace = `
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: %[1]s, labels: {app: web}}
spec: {serviceAccountName: web, containers: [{name: app}]}
status: {phase: Running, podIP: %[2]s, podIPs: [{ip: %[2]s}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bad, namespace: %[1]s}
spec: {hosts: [svc-%[1]s], http: [{route: [{destination: {host: nowhere-%[1]s}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: rule, namespace: %[1]s}
spec: {host: svc-%[1]s, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
`

func newDebugPilot(t *testing.T) *debugPilot {
	d := &debugPilot{t: t, ca: newTestCA(t), log: &lockedBuffer{}}
	src := memory.New()
	for ns, ip := range map[string]string{"shop": "10.1.0.1", "bank": "10.1.0.2"} {
		src.ApplyYAML(ns+".yaml", service(ns, "svc-"+ns)+"---"+fmt.Sprintf(debugNamespace, ns, ip))
	}
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan Addresses, 1), make(chan error, 1)
	identity := enroll.NewManager(enroll.ManagerOptions{Issuer: d.ca, Roots: d.ca.roots(), Logger: slog.New(slog.DiscardHandler)})
	go func() {
		ended <- Run(ctx, Options{
			Source: src, XDS: "127.0.0.1:0", Monitoring: "127.0.0.1:0", Identity: identity,
			Log: slog.New(slog.NewTextHandler(d.log, nil)), Started: func(a Addresses) { started <- a },
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	d.addrs = <-started
	if _, err := identity.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	d.connect("shop", "10.1.0.1")
	d.connect("bank", "10.1.0.2")
	return d
}

func (d *debugPilot) cert(td, ns string) enroll.CertificateFunc {
	c := d.ca.issue(spiffe.ID{TrustDomain: td, Namespace: ns, ServiceAccount: "web"})
	return func() (*tls.Certificate, error) { return c.TLS(), nil }
}

// connect is a proxy that refuses its clusters and stays.
func (d *debugPilot) connect(ns, ip string) {
	d.t.Helper()
	config := enroll.ClientTLS(d.cert("cluster.local", ns), d.ca.roots(), nil)
	conn, err := grpc.NewClient(d.addrs.XDS, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	d.t.Cleanup(cancel)
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		d.t.Fatal(err)
	}
	node := &core.Node{Id: "sidecar~" + ip + "~web-1." + ns + "~" + ns + ".svc.cluster.local"}
	if err := stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: snapshot.Cluster, Node: node}); err != nil {
		d.t.Fatal(err)
	}
	m, err := stream.Recv()
	if err != nil {
		d.t.Fatal(err)
	}
	refusal := &rpc.Status{Code: 3, Message: "refused by " + ns}
	if err := stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: snapshot.Cluster, ResponseNonce: m.Nonce, ErrorDetail: refusal}); err != nil {
		d.t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil { // the refusal was taken
		d.t.Fatal(err)
	}
}

// get asks for a page over TLS with a certificate (nil: none).
func (d *debugPilot) get(cert enroll.CertificateFunc, path string) (int, string, error) {
	config := enroll.ClientTLS(cert, d.ca.roots(), enroll.AllowIDs(ID("cluster.local")))
	config.NextProtos = nil
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Get("https://" + d.addrs.Monitoring + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

var debugPages = []string{"/debug/syncz", "/debug/sync", "/debug/nacks", "/debug/registryz", "/debug/config_dump?proxyID=web-1.shop"}

func TestDebugByCertificate(t *testing.T) {
	d := newDebugPilot(t)
	shop, bank := d.cert("cluster.local", "shop"), d.cert("cluster.local", "bank")
	for _, page := range debugPages {
		if status, body := fetch(t, "http://"+d.addrs.Monitoring+page); status != http.StatusOK || !strings.Contains(body, "shop") {
			t.Errorf("%s on loopback: %d %.300s", page, status, body)
		}
		status, body, err := d.get(shop, page)
		if err != nil || status != http.StatusOK || !strings.Contains(body, "shop") || !json.Valid([]byte(body)) {
			t.Errorf("%s to its own namespace: %d %.300s %v", page, status, body, err)
		}
		// The mesh's clusters name services of all namespaces to every proxy.
		if strings.Contains(body, "bank") && !strings.Contains(page, "config_dump") {
			t.Errorf("%s tells shop of bank: %s", page, body)
		}
		status, body, err = d.get(bank, page)
		if err != nil || strings.Contains(strings.ReplaceAll(body, "web-1.shop", "asked"), "shop") {
			t.Errorf("%s tells bank of shop: %d %s %v", page, status, body, err)
		}
		if strings.Contains(page, "config_dump") && status != http.StatusNotFound {
			t.Errorf("the dump of another namespace's proxy: %d %.200s", status, body)
		}
	}
	_, body, _ := d.get(shop, "/debug/sync")
	for _, want := range []string{`"refused by shop"`, `"nowhere-shop`, `"DestinationRule/shop/rule"`, `"web-1"`} {
		if !strings.Contains(body, want) {
			t.Errorf("shop's own sync page lacks %s: %s", want, body)
		}
	}
	for _, page := range []string{"/debug/pprof/", "/debug/pprof/profile?seconds=1"} {
		if status, body, err := d.get(shop, page); err != nil || status != http.StatusForbidden {
			t.Errorf("%s over TLS: %d %.200s %v", page, status, body, err)
		}
	}
	d.counted("debug", 2)
}

// counted waits until the metric of refusals is at least want.
func (d *debugPilot) counted(reason string, want int) {
	d.t.Helper()
	var n int
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && n < want; {
		_, body := fetch(d.t, "http://"+d.addrs.Monitoring+"/metrics")
		_, after, _ := strings.Cut(body, `weft_pilot_monitoring_refused_total{reason="`+reason+`"} `)
		_, _ = fmt.Sscan(after, &n)
	}
	if n < want {
		d.t.Errorf("%d refusals are counted as %s, want %d", n, reason, want)
	}
}

func TestMonitoringRefusesStrangers(t *testing.T) {
	d := newDebugPilot(t)
	other := newTestCA(t).issue(spiffe.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "web"})
	for name, cert := range map[string]enroll.CertificateFunc{
		"no certificate":       nil,
		"another mesh's CA":    func() (*tls.Certificate, error) { return other.TLS(), nil },
		"another trust domain": d.cert("evil.local", "shop"),
	} {
		for _, page := range []string{"/debug/syncz", "/metrics"} {
			if status, body, err := d.get(cert, page); err == nil {
				t.Errorf("%s was answered %s: %d %.200s", name, page, status, body)
			}
		}
	}
	d.counted("stranger", 6)
	for _, want := range []string{"evil.local", "a connection to the monitoring port is refused", "127.0.0.1:"} {
		if !strings.Contains(d.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, d.log)
		}
	}
}

// TestMonitoringHostile: bytes that are neither HTTP nor TLS, and clients that
// stop in the middle, hurt nobody else and are not kept.
func TestMonitoringHostile(t *testing.T) {
	d := newDebugPilot(t)
	hello := []byte{22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}
	var open []net.Conn
	for _, bytes := range [][]byte{nil, {22}, hello, {22, 3, 1, 0xff, 0xff, 0}, []byte("\x00\r\n\r\n"), append([]byte{0x80, 10, 10}, make([]byte, 4096)...)} {
		conn, err := net.Dial("tcp", d.addrs.Monitoring)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(bytes); err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	if status, _ := fetch(t, "http://"+d.addrs.Monitoring+"/ready"); status != http.StatusOK {
		t.Errorf("beside slow clients: %d", status)
	}
	if status, _, err := d.get(d.cert("cluster.local", "shop"), "/debug/syncz"); err != nil || status != http.StatusOK {
		t.Errorf("TLS beside slow clients: %d %v", status, err)
	}
	for i, conn := range open {
		_ = conn.SetReadDeadline(time.Now().Add(greetTimeout + 10*time.Second))
		if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("client %d is kept: %v", i, err)
		}
	}
	d.counted("silent", 1)
	d.counted("stranger", 3)
}

// TestSniffingCloses: whoever is being greeted goes with the listener, and
// Accept ends.
func TestSniffingCloses(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newSniffing(netutil.LimitListener(inner, 4), nil, func(string) {}, slog.New(slog.DiscardHandler))
	conn, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("a closed listener accepts")
	}
	_ = conn.SetReadDeadline(time.Now().Add(greetTimeout / 2))
	if _, err := conn.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the connection outlives its listener: %v", err)
	}
}
