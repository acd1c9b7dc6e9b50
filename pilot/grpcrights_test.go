package pilot_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	grpcxds "google.golang.org/grpc/xds"

	"github.com/weftmesh/weft/internal/agent/grpcbootstrap"
	"github.com/weftmesh/weft/internal/agent/node"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/spiffe"
	"github.com/weftmesh/weft/pilot"
	"github.com/weftmesh/weft/samples/bookshop/ratingspb"
)

// guards are unmodified grpc-go servers that have their mode and their rights by
// xDS, and certificates for clients of several identities.
type guards struct {
	*ring
	roots string
	issue func(spiffe.ID) *enroll.Certificate
}

// guarded is one of the servers, and clients of it by service account.
type guarded struct {
	*guards
	address string
	conns   map[string]*grpc.ClientConn
}

func newGuards(t *testing.T) *guards {
	g := &guards{ring: startRing(t)}
	g.roots, g.issue = pilot.NewCA(t)
	g.apply("strict", "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: shop}\nspec: {mtls: {mode: STRICT}}\n")
	return g
}

func (g *guards) identity(account string) *enroll.Certificate {
	id, err := spiffe.New("cluster.local", "shop", account)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.issue(id)
}

// serve starts the server of a pod.
func (g *guards) serve(pod string) *guarded {
	lis, err := net.Listen("tcp", ":0")
	if err != nil {
		g.t.Fatal(err)
	}
	port := lis.Addr().(*net.TCPAddr).Port
	g.apply("pod-"+pod, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: shop, labels: {app: ratings, pod: %[1]s}, annotations: {inject.istio.io/templates: grpc-agent, sidecar.istio.io/status: "{}"}}
spec: {containers: [{name: app, ports: [{name: grpc, containerPort: %[2]d}]}]}
status: {phase: Running, podIP: 127.0.0.1}
`, pod, port))
	dir, own := g.t.TempDir(), g.identity("server")
	if err := grpcbootstrap.WriteIdentity(dir, grpcbootstrap.Identity{Chain: own.ChainPEM, Key: own.KeyPEM, Roots: []byte(g.roots)}, grpcbootstrap.Nobody); err != nil {
		g.t.Fatal(err)
	}
	bootstrap, err := grpcbootstrap.JSON(grpcbootstrap.Config{
		Node:   node.Node{Role: node.Sidecar, Name: pod, Namespace: "shop", IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}},
		Server: g.addr.InsecureXDS, Plaintext: true, Certificates: dir,
	})
	if err != nil {
		g.t.Fatal(err)
	}
	creds, err := xdscreds.NewServerCredentials(xdscreds.ServerOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		g.t.Fatal(err)
	}
	server, err := grpcxds.NewGRPCServer(grpc.Creds(creds), grpcxds.BootstrapContentsForTesting(bootstrap))
	if err != nil {
		g.t.Fatal(err)
	}
	ratingspb.RegisterRatingsServer(server, &rater{version: "v1"})
	healthpb.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(lis) }()
	g.t.Cleanup(server.Stop)
	return &guarded{guards: g, address: fmt.Sprintf("127.0.0.1:%d", port), conns: map[string]*grpc.ClientConn{}}
}

// as is a connection of a service account.
func (g *guarded) as(account string) *grpc.ClientConn {
	if c := g.conns[account]; c != nil {
		return c
	}
	own, roots := g.identity(account), x509.NewCertPool()
	pair, err := tls.X509KeyPair(own.ChainPEM, own.KeyPEM)
	if err != nil || !roots.AppendCertsFromPEM([]byte(g.roots)) {
		g.t.Fatal(err)
	}
	c, err := grpc.NewClient(g.address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots})))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	g.conns[account] = c
	return c
}

// call makes one, written as "ACCOUNT METHOD NAME=VALUE ...", and gives the code.
func (g *guarded) call(text string) string {
	parts := strings.Fields(text)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, header := range parts[2:] {
		name, value, _ := strings.Cut(header, "=")
		ctx = metadata.AppendToOutgoingContext(ctx, name, value)
	}
	var err error
	if c := g.as(parts[0]); parts[1] == "check" {
		_, err = healthpb.NewHealthClient(c).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	} else {
		_, err = ratingspb.NewRatingsClient(c).Get(ctx, &ratingspb.GetRequest{}, grpc.WaitForReady(true))
	}
	return status.Code(err).String()
}

const (
	taken  = "OK"
	denied = "PermissionDenied"
)

// TestGRPCRights: an unmodified grpc-go server enforces AuthorizationPolicies: DENY
// before ALLOW, what no ALLOW takes is denied, and what it cannot ask is never
// in the caller's favour. Sources: Istio, AuthorizationPolicy; gRFC A41.
func TestGRPCRights(t *testing.T) {
	g := newGuards(t)
	get := "{to: [{operation: {paths: [/weft.samples.bookshop.Ratings/Get]}}]}"
	for _, test := range []struct {
		name  string
		specs []string // each is a policy
		want  map[string]string
	}{
		{"default-deny", []string{"{}"}, map[string]string{"ann get": denied, "bob check": denied}},
		{"principal", []string{"{rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/ann]}}]}]}"}, map[string]string{"ann get": taken, "bob get": denied}},
		{"path", []string{"{rules: [" + get + "]}"}, map[string]string{"ann get": taken, "ann check": denied}},
		{"deny-before-allow", []string{"{rules: [{}]}", "{action: DENY, rules: [" + get + "]}"}, map[string]string{"ann get": denied, "ann check": taken}},
		{"deny-by-principal", []string{"{action: DENY, rules: [{from: [{source: {serviceAccounts: [bob]}}]}]}"}, map[string]string{"ann get": taken, "bob get": denied}},
		{"header", []string{"{rules: [{when: [{key: 'request.headers[x-team]', values: [blue, red*]}]}]}"},
			map[string]string{"ann get": denied, "ann get x-team=blue": taken, "ann get X-Team=redder": taken, "ann get x-team=green": denied}},
		{"denied-header-in-a-list", []string{"{action: DENY, rules: [{when: [{key: 'request.headers[x-team]', values: [blue]}]}]}"},
			map[string]string{"ann get": taken, "ann get x-team=red x-team=blue": denied, "ann get x-team=green": taken}},
		{"any-header-even-empty", []string{"{action: DENY, rules: [{when: [{key: 'request.headers[x-team]', values: ['*']}]}]}"},
			map[string]string{"ann get": taken, "ann get x-team=": denied}},
		{"connection", []string{"{rules: [{from: [{source: {ipBlocks: [127.0.0.0/8], notPrincipals: ['*/sa/bob']}}], to: [{operation: {methods: [POST], hosts: ['127.0.0.1'], notPaths: ['*/Check']}}], when: [{key: destination.ip, values: [127.0.0.1]}]}]}"},
			map[string]string{"ann get": taken, "bob get": denied, "ann check": denied}},
		{"other-address", []string{"{rules: [{from: [{source: {notIpBlocks: [127.0.0.1]}}]}]}"}, map[string]string{"ann get": denied}},
		{"other-port", []string{"{rules: [{to: [{operation: {ports: ['1']}}]}]}"}, map[string]string{"ann get": denied}},
		{"host-header", []string{"{action: DENY, rules: [{when: [{key: 'request.headers[host]', values: ['127.0.0.1*']}]}]}"}, map[string]string{"ann get": denied}},
		{"namespace-and-trust-domain", []string{"{rules: [{from: [{source: {namespaces: [shop], trustDomains: [cluster.local]}}], to: [{operation: {notPaths: ['*/Check']}}]}]}"}, map[string]string{"ann get": taken, "ann check": denied}},
		{"other-namespace", []string{"{rules: [{from: [{source: {namespaces: [sho]}}]}]}"}, map[string]string{"ann get": denied}},
		{"allow-by-token", []string{"{rules: [{from: [{source: {requestPrincipals: ['*']}}]}]}"}, map[string]string{"ann get": denied}},
		{"allow-but-by-token", []string{"{rules: [{from: [{source: {notRequestPrincipals: ['a/b']}}]}, " + get + "]}"}, map[string]string{"ann get": taken, "ann check": denied}},
		{"deny-by-token", []string{"{action: DENY, rules: [{from: [{source: {requestPrincipals: ['a/b'], principals: ['*/ann']}}]}]}"}, map[string]string{"ann get": denied, "bob get": taken}},
		{"hidden-header", []string{"{action: DENY, rules: [{when: [{key: 'request.headers[grpc-timeout]', values: ['1']}], to: [{operation: {paths: ['*/Check']}}]}]}"},
			map[string]string{"ann get": taken, "ann check": denied}},
		{"name-of-the-server", []string{"{rules: [{when: [{key: connection.sni, notValues: [a]}]}]}"}, map[string]string{"ann get": denied}},
		{"audit", []string{"{action: AUDIT, rules: [{}]}", "{action: DENY, rules: [" + get + "]}"}, map[string]string{"ann get": denied, "ann check": taken}},
	} {
		g.policies(test.name, test.specs)
		server := g.serve(test.name)
		for _, call := range slices.Sorted(maps.Keys(test.want)) {
			server.becomes(call, test.want[call])
		}
	}
}

// TestGRPCRightsChange: an edit is in force on connections that are open.
func TestGRPCRightsChange(t *testing.T) {
	g := newGuards(t)
	server := g.serve("edited")
	for _, step := range []struct{ spec, want string }{{"{rules: [{}]}", taken}, {"{}", denied}, {"{rules: [{}]}", taken}} {
		g.policies("edited", []string{step.spec})
		server.becomes("ann get", step.want)
	}
}

func (g *guarded) becomes(call, want string) {
	g.t.Helper()
	var got string
	if !soon(func() bool { got = g.call(call); return got == want }) {
		g.t.Errorf("%q: %s, want %s", call, got, want)
	}
}

// policies are for one pod.
func (g *guards) policies(pod string, specs []string) {
	for i, spec := range specs {
		name := fmt.Sprint(pod, "-", i)
		g.apply("policy-"+name, fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: %s, namespace: shop}\nspec: {selector: {matchLabels: {pod: %s}}, %s\n", name, pod, spec[1:]))
	}
}
