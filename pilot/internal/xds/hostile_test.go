package xds

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/spiffe"
)

// ends waits until the server ended the client's stream, and returns why.
func (c *client) ends() error {
	c.t.Helper()
	eventually(c.t, "the stream's end", func() bool { return c.failure() != nil })
	return c.failure()
}

func TestMalformedNodesAreRefused(t *testing.T) {
	many := map[string]any{}
	for i := range maxLabels + 1 {
		many[fmt.Sprint("l", i)] = "x"
	}
	meta := func(m map[string]any) *structpb.Struct {
		s, err := structpb.NewStruct(m)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	good := "sidecar~10.0.0.1~a.default~d"
	cases := map[string]*core.Node{
		"has no node":           nil,
		"is not ROLE~IP":        {Id: "envoy"},
		"is neither sidecar":    {Id: "king~10.0.0.1~a.default~d"},
		"is not POD.NAMESPACE":  {Id: "sidecar~10.0.0.1~a~d"},
		"node address":          {Id: "sidecar~nowhere~a.default~d"},
		"differs from the node": {Id: good, Metadata: meta(map[string]any{"NAMESPACE": "other"})},
		"LABELS has":            {Id: good, Metadata: meta(map[string]any{"LABELS": many})},
		"is longer than":        {Id: good, Metadata: meta(map[string]any{"LABELS": map[string]any{"x": strings.Repeat("y", 600)}})},
		"more than 64":          {Id: good, Metadata: meta(map[string]any{"INSTANCE_IPS": strings.Repeat("10.0.0.1,", 70) + "10.0.0.1"})},
		"the limit is 512":      {Id: strings.Repeat("x", 600)},
	}
	w := newWorld(t, Options{})
	for want, n := range cases {
		c := w.connectAs(n)
		c.request("cds", nil)
		if err := c.ends(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), want) {
			t.Errorf("want a refusal with %q, got %v", want, err)
		}
	}
	// Metadata of the wrong kinds is as good as none.
	c := w.connectAs(&core.Node{Id: good, Metadata: meta(map[string]any{"NAMESPACE": 7, "LABELS": "x", "INSTANCE_IPS": []any{1}})})
	c.request("cds", nil)
	w.put("cds a=1")
	c.wait("cds a=1")
}

func TestGarbageIsRefused(t *testing.T) {
	w := newWorld(t, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	conn := w.dial(grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	method := discovery.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName
	for name, body := range map[string][]byte{"garbage": []byte("\xff\xff\xffnot a message"), "oversized": make([]byte, maxMessage+1)} {
		stream, err := conn.NewStream(ctx, desc, method)
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.SendMsg(body)
		var got []byte
		if err := stream.RecvMsg(&got); err == nil || status.Code(err) == codes.OK {
			t.Errorf("%s was accepted", name)
		}
	}
	c := w.connect() // the server is well
	c.request("cds", nil)
	w.put("cds a=1")
	c.wait("cds a=1")
}

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }

func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = b
	return nil
}

func TestRawBytesOnTheSocket(t *testing.T) {
	w := newWorld(t, Options{})
	conn, err := w.lis.DialContext(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost: pilot\r\n\r\n" + strings.Repeat("\x00", 1000)))
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	for buf := make([]byte, 1024); ; {
		if _, err := conn.Read(buf); err != nil {
			if e := net.Error(nil); errors.As(err, &e) && e.Timeout() {
				t.Fatal("the connection was left open")
			}
			return
		}
	}
}

func TestTooManyNamesAndTypes(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.connect()
	c.request("cds", nil)
	c.subscribe("eds", make([]string, maxNames+1)...)
	if err := c.ends(); !strings.Contains(err.Error(), "the limit is 100000") {
		t.Errorf("names: %v", err)
	}
	c = w.connect()
	c.subscribe("eds", strings.Repeat("n", maxNameLen+1))
	if err := c.ends(); !strings.Contains(err.Error(), "the limit is 2048") {
		t.Errorf("long name: %v", err)
	}
	c = w.connect()
	for i := range maxStrange + 1 {
		c.request(fmt.Sprint("unknown", i), nil)
	}
	if err := c.ends(); !strings.Contains(err.Error(), "not served") {
		t.Errorf("types: %v", err)
	}
}

func TestStreamLimits(t *testing.T) {
	w := newWorld(t, Options{MaxStreams: 3, MaxStreamsPerPod: 2})
	for i := range 3 {
		c := w.connect()
		c.request("cds", nil)
		if i == 2 {
			if err := c.ends(); status.Code(err) != codes.ResourceExhausted {
				t.Fatalf("a third stream of the pod: %v", err)
			}
			continue
		}
		eventually(t, "a stream", func() bool { return len(w.srv.Streams()) == i+1 })
	}
	other := w.connectAs(node("sidecar~10.0.0.2~b.default~d", nil))
	other.request("cds", nil)
	eventually(t, "another pod's stream", func() bool { return len(w.srv.Streams()) == 3 })
}

// TestClientThatNeverReads fills the windows of one client, which is dropped
// in the end; others are served meanwhile.
func TestClientThatNeverReads(t *testing.T) {
	w := newWorld(t, Options{AckTimeout: 400 * time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	conn := w.dial(grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10), grpc.WithStaticStreamWindowSize(64<<10))
	stuck, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stuck.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: typeNames["cds"], Node: node("sidecar~10.0.0.9~stuck.default~d", nil)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stuck stream", func() bool { return len(w.srv.Streams()) == 1 })
	var specs []string
	for i := range 64 {
		specs = append(specs, fmt.Sprintf("cds c%02d=%s", i, strings.Repeat("x", 32<<10)))
	}
	w.put(specs...)
	c := w.connect()
	c.request("cds", nil)
	eventually(t, "the other client", func() bool { return len(c.versions("cds")) == 64 })
	w.put("cds c00=new")
	eventually(t, "the other client's update", func() bool { return strings.HasPrefix(c.state("cds"), "cds c00=new ") })
	eventually(t, "the stuck stream's end", func() bool { // the other's may end too, on a machine that is not quick
		return !slices.ContainsFunc(w.srv.Streams(), func(s StreamState) bool { return s.Proxy.Name == "stuck" })
	})
}

// authority is a CA of a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.issue(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) issue(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.NotAfter = big.NewInt(1), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// leaf is a certificate for the URIs of ids.
func (a *authority) leaf(ids ...spiffe.ID) tls.Certificate {
	template := &x509.Certificate{DNSNames: []string{"pilot"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	for _, id := range ids {
		template.URIs = append(template.URIs, &url.URL{Scheme: "spiffe", Host: id.TrustDomain, Path: id.URL().Path})
	}
	cert, key := a.issue(template)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// secureWorld serves over mTLS.
type secureWorld struct {
	*world
	ca   *authority
	addr string
}

func newSecureWorld(t *testing.T, pods map[string]*model.Workload) *secureWorld {
	w := &secureWorld{world: newWorld(t, Options{PodWait: 300 * time.Millisecond}), ca: newAuthority(t)}
	w.srv.SetDirectory(fakeDirectory{pods: pods})
	creds := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{w.ca.leaf()}, ClientCAs: w.ca.pool(), ClientAuth: tls.RequireAndVerifyClientCert})
	g := w.srv.GRPC(grpc.Creds(creds))
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go g.Serve(lis)
	t.Cleanup(g.Stop)
	w.addr = lis.Addr().String()
	return w
}

func (w *secureWorld) connectWith(n *core.Node, ids ...spiffe.ID) *client {
	creds := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{w.ca.leaf(ids...)}, RootCAs: w.ca.pool(), ServerName: "pilot"})
	conn, err := grpc.NewClient(w.addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(cancel)
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	c := &client{t: w.t, stream: stream, cancel: cancel, first: n, has: map[string]map[string]*discovery.Resource{}, mute: map[string]bool{}}
	go c.run()
	return c
}

func account(ns, sa string) spiffe.ID {
	return spiffe.ID{TrustDomain: "cluster.local", Namespace: ns, ServiceAccount: sa}
}

func TestIdentityDecides(t *testing.T) {
	pods := map[string]*model.Workload{
		"default/a": {Namespace: "default", Name: "a", ServiceAccount: "web", Labels: map[string]string{"class": ""}},
		"default/b": {Namespace: "default", Name: "b", ServiceAccount: "db"},
	}
	w := newSecureWorld(t, pods)
	refusals := []struct {
		name, id, want string
		ids            []spiffe.ID
	}{
		{"another namespace", "sidecar~10.0.0.1~a.default~d", "claims namespace", []spiffe.ID{account("other", "web")}},
		{"another's pod", "sidecar~10.0.0.1~b.default~d", "runs as service account", []spiffe.ID{account("default", "web")}},
		{"an unknown pod", "sidecar~10.0.0.1~ghost.default~d", "does not know this pod", []spiffe.ID{account("default", "web")}},
		{"no identity", "sidecar~10.0.0.1~a.default~d", "URI names", nil},
		{"two identities", "sidecar~10.0.0.1~a.default~d", "URI names", []spiffe.ID{account("default", "web"), account("default", "db")}},
	}
	for _, r := range refusals {
		c := w.connectWith(node(r.id, nil), r.ids...)
		c.request("cds", nil)
		err := c.ends()
		if code := status.Code(err); code != codes.PermissionDenied && code != codes.Unauthenticated || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%s: want a refusal with %q, got %v", r.name, r.want, err)
		}
	}
	// The pod's labels are the pilot's, not those that it claims.
	c := w.connectWith(node("sidecar~10.0.0.1~a.default~d", map[string]string{"class": "admin"}), account("default", "web"))
	c.request("cds", nil)
	w.put("cds a=1")
	c.wait("cds a=1")
}

func TestPodThatIsKnownLater(t *testing.T) {
	w := newSecureWorld(t, nil)
	w.srv.opts.PodWait = patience
	c := w.connectWith(node("sidecar~10.0.0.1~a.default~d", nil), account("default", "web"))
	c.request("cds", nil)
	w.srv.SetDirectory(fakeDirectory{pods: map[string]*model.Workload{"default/a": {Namespace: "default", Name: "a", ServiceAccount: "web"}}})
	w.put("cds a=1")
	c.wait("cds a=1")
}

// Which secrets a proxy may have, its class says: see view and the push-secret
// cases of package pilot. One that is not there is answered as removed, since
// Envoy holds a cluster or listener back until it hears of its secrets.
func TestSecretsGoToProvenProxiesOnly(t *testing.T) {
	pods := map[string]*model.Workload{"default/a": {Namespace: "default", Name: "a", ServiceAccount: "web"}}
	w := newSecureWorld(t, pods)
	const name = "kubernetes://cred"
	plain := w.connectAs(node("router~10.0.0.1~a.default~d", nil))
	plain.subscribe("sds", name)
	sidecar := w.connectWith(node("sidecar~10.0.0.1~a.default~d", nil), account("default", "web"))
	sidecar.subscribe("sds", name)
	lacking := w.connectWith(node("sidecar~10.0.0.1~a.default~d", nil), account("default", "web"))
	lacking.subscribe("sds", "kubernetes://")
	router := w.connectWith(node("router~10.0.0.1~a.default~d", nil), account("default", "web"))
	router.subscribe("sds", name)
	w.put("sds " + name + "=key")
	router.waitLog("+sds " + name + "=key")
	plain.waitLog("-sds " + name)
	sidecar.waitLog("+sds " + name + "=key")
	lacking.waitLog("-sds kubernetes://")
	w.put("sds " + name + "=key2")
	router.waitLog("+sds " + name + "=key2")
	sidecar.waitLog("+sds " + name + "=key2")
	if plain.state("sds") != "sds" {
		t.Error("a secret was given away")
	}
}

// TestSaid: of a NACK about several resources each keeps what is about itself.
func TestSaid(t *testing.T) {
	const message = "Error adding/updating cluster(s) v1|a: Invalid path: /x, a: bad, b: Invalid path: /y"
	culprits := []item{one(0, "v1|a", nil, false), one(0, "a", nil, false), one(0, "b", nil, false)}
	for name, want := range map[string]string{"v1|a": "Invalid path: /x", "a": "bad", "b": "Invalid path: /y", "c": message} {
		if got := said(message, name, culprits); got != want {
			t.Errorf("of %s: %q, want %q", name, got, want)
		}
	}
}
