package translate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

func ref[T any](v T) *T { return &v }

// policiesOfEveryKind covers every field of model.Traffic.
func policiesOfEveryKind() []model.Traffic {
	hash := func(h model.ConsistentHash) *model.LoadBalancer {
		return &model.LoadBalancer{Algorithm: model.LBHash, Hash: &h}
	}
	warm := &model.Warmup{Duration: time.Minute, MinPercent: 20, Aggression: 2}
	return []model.Traffic{
		{LB: &model.LoadBalancer{Warmup: warm}}, {LB: &model.LoadBalancer{Algorithm: model.LBRoundRobin, Warmup: warm}},
		{LB: &model.LoadBalancer{Algorithm: model.LBRandom}}, {LB: &model.LoadBalancer{Algorithm: model.LBPassthrough}},
		{LB: hash(model.ConsistentHash{Header: "x-user", MinRingSize: 2048})}, {LB: hash(model.ConsistentHash{Query: "q", Maglev: true, TableSize: 65537})},
		{LB: hash(model.ConsistentHash{SourceIP: true, Maglev: true})},
		{LB: hash(model.ConsistentHash{Cookie: &model.Cookie{Name: "c", Path: "/", TTL: ref(time.Duration(0)), Attributes: []model.Header{{Name: "SameSite", Value: "Strict"}}}})},
		{Pool: &model.ConnectionPool{
			MaxConnections: 1, ConnectTimeout: time.Second, Keepalive: true, KeepaliveProbes: 3, KeepaliveTime: time.Minute, KeepaliveInterval: time.Millisecond,
			TCPIdleTimeout: time.Minute, MaxConnectionDuration: time.Hour, MaxPendingRequests: 1, MaxRequests: 1, MaxRequestsPerConn: 1, MaxRetries: 1,
			HTTPIdleTimeout: time.Minute, MaxConcurrentStreams: 7, H2Upgrade: model.H2Always, HTTP2KeepaliveTime: time.Minute, HTTP2KeepaliveTimeout: time.Second,
		}},
		{Pool: &model.ConnectionPool{UseClientProtocol: true}},
		{Outlier: &model.OutlierDetection{
			Consecutive5xx: ref(uint32(3)), ConsecutiveGateway: ref(uint32(0)), ConsecutiveLocal: ref(uint32(2)), SplitLocal: true,
			Interval: time.Second, BaseEjection: time.Second, MaxEjectionPercent: ref(uint32(100)), MinHealthPercent: 20,
		}},
		{TLS: &model.ClientTLS{}}, {TLS: &model.ClientTLS{Mode: model.TLSMesh, SANs: []string{"spiffe://other/ns/a/sa/b"}}},
		{TLS: &model.ClientTLS{Mode: model.TLSSimple, InsecureSkipVerify: true}},
		{TLS: &model.ClientTLS{Mode: model.TLSSimple, InsecureSkipVerify: true, SNI: "x.example", SANs: []string{"x.example", "spiffe://x/y"}}},
	}
}

// routesOfEveryKind covers every field of model.Route.
func routesOfEveryKind(host string) []*model.Route {
	match := func(kind model.MatchKind, v string) *model.StringMatch {
		return &model.StringMatch{Kind: kind, Value: v}
	}
	forward := func(f model.Forward) model.Action {
		f.Destinations = append(f.Destinations, model.Destination{Host: host, Weight: 1, Request: model.HeaderOps{Set: []model.Header{{Name: "Host", Value: "o.example"}}}})
		return &f
	}
	retry := &model.Retry{Attempts: 3, PerTry: time.Second, On: "5xx,retriable-status-codes", Codes: []uint32{409}, RemoteLocality: true, PreviousHosts: true, Backoff: time.Millisecond}
	ops := model.HeaderOps{Set: []model.Header{{Name: "a", Value: "%DOWNSTREAM_REMOTE_ADDRESS%"}}, Add: []model.Header{{Name: "b", Value: "2"}}, Remove: []string{"c"}}
	return []*model.Route{
		{Name: "match", Action: forward(model.Forward{}), Match: model.Match{
			Path: &model.StringMatch{Value: "/Exact", IgnoreCase: true}, Scheme: match(model.MatchExact, "http"), Method: match(model.MatchRegex, "GET|PUT"),
			Authority: match(model.MatchPrefix, "rev"), Query: []model.QueryMatch{{Name: "q", StringMatch: *match(model.MatchPresent, "")}, {Name: "r", StringMatch: *match(model.MatchRegex, "[0-9]+")}},
			Headers: []model.HeaderMatch{
				{Name: "x", StringMatch: *match(model.MatchPresent, ""), Not: true}, {Name: "y", StringMatch: *match(model.MatchSuffix, "z"), Not: true},
				{Name: "z", StringMatch: model.StringMatch{Value: "Z", IgnoreCase: true}},
			},
		}},
		{Name: "forward", Match: model.Match{Path: match(model.MatchPrefix, "/forward")}, Request: ops, Response: ops, Action: forward(model.Forward{
			Rewrite: &model.Rewrite{Path: "/g", Authority: "o.example"}, Timeout: time.Second, Retry: retry,
			Mirrors: []model.Mirror{{Destination: model.Destination{Host: host}, PPM: 500_000}},
		})},
		{Name: "regex", Match: model.Match{Path: match(model.MatchRegex, "/r/.*")}, Action: forward(model.Forward{Rewrite: &model.Rewrite{Regex: "/r/(.*)", Substitution: `/\1`}})},
		{Name: "suffix", Match: model.Match{Path: match(model.MatchSuffix, ".png")}, Action: &model.DirectResponse{Status: 418, Body: []byte("teapot")}},
		{Name: "redirect", Match: model.Match{Path: match(model.MatchPrefix, "/old")}, Action: &model.Redirect{Prefix: "/new", Authority: "r.example", Scheme: "https", Code: 308, Port: 8443}},
		{Name: "redirect port", Match: model.Match{Path: match(model.MatchPrefix, "/port")}, Action: &model.Redirect{Path: "/p", RequestPort: true, Code: 302}},
		{Name: "nothing", Match: model.Match{Path: match(model.MatchPrefix, "/nothing")}},
		{Name: "no share", Match: model.Match{Path: match(model.MatchPrefix, "/none")}, Action: &model.Forward{Destinations: []model.Destination{{Host: host}, {Host: host}}}},
		{
			Name: "fault", Match: model.Match{Path: match(model.MatchPrefix, "/fault")}, Action: forward(model.Forward{}),
			Fault: &model.Fault{Delay: time.Millisecond, DelayPPM: 1_000_000, AbortPPM: 1_000_000, AbortStatus: 555},
			CORS: &model.CORS{
				Origins: []model.StringMatch{*match(model.MatchRegex, ".*"), *match(model.MatchExact, "https://a.example")}, Methods: []string{"GET", "PUT"}, Headers: []string{"x"},
				Expose: []string{"y"}, MaxAge: time.Minute, Credentials: ref(true), UnmatchedPreflight: true,
			},
		},
		{Name: "grpc fault", Match: model.Match{Path: match(model.MatchPrefix, "/grpc")}, Action: forward(model.Forward{}), Fault: &model.Fault{AbortPPM: 1, AbortGRPC: 14}},
		meshtest.To(host, "v1", 70, "v2", 30, "v1", 0),
	}
}

// everything is a mesh that uses every field of the model that has a form in
// Envoy.
func everything() *meshtest.Mesh {
	reviews := meshtest.Host("reviews", "default")
	m := meshtest.Bookshop().VirtualService(meshtest.Routing("reviews", "default", reviews, routesOfEveryKind(reviews)...))
	m.Settings(func(s *model.Settings) {
		s.Telemetry.Unnamed, s.HTTP10, s.OutboundAllowAny = []*model.LogProvider{{Path: "/dev/stdout"}}, true, false
	})
	for i, traffic := range policiesOfEveryKind() {
		name := fmt.Sprintf("p%02d", i)
		m.Service(meshtest.Service(name, "default", fmt.Sprintf("10.97.0.%d", i+1), meshtest.Port(80, model.ProtocolHTTP), meshtest.Port(81, model.ProtocolTCP), meshtest.Port(82, model.ProtocolAuto), meshtest.Port(83, model.ProtocolGRPC)))
		m.Endpoints(meshtest.Behind(name, "default", 80, meshtest.Pod(fmt.Sprintf("10.245.0.%d", i+1), 8080, "v1")))
		rule := meshtest.Rule(name, "default", meshtest.Host(name, "default"), "v1")
		rule.Traffic.Traffic = traffic
		m.Policy(rule)
	}
	outside := meshtest.Service("outside", "default", "10.97.1.1", meshtest.Port(80, model.ProtocolHTTP), meshtest.Port(443, model.ProtocolTLS))
	outside.Resolve, outside.External = model.ResolveDNS, "outside.example"
	dual := meshtest.Service("dual", "default", "10.97.1.2", meshtest.Port(80, model.ProtocolHTTP), meshtest.Port(6000, model.ProtocolTCP))
	dual.Addresses = append(dual.Addresses, "fd00::2")
	return m.Service(outside, dual)
}

// TestEnvoyAcceptsEverything: Envoy refuses nothing of what the model can say.
func TestEnvoyAcceptsEverything(t *testing.T) {
	t.Parallel()
	p := run(t, everything().Model(), meshtest.Outbound)
	at := func(path string) simulate.Call {
		return simulate.Call{Listener: "virtualOutbound", Destination: to("10.96.0.1:9080"), Host: "reviews:9080", Path: path}
	}
	outside := at("/")
	outside.Host = "unknown.example"
	for _, c := range []calling{
		{"direct response", at("/a.png"), expect{status: 418}},
		{"redirect", at("/old/x"), expect{status: 308}},
		{"a route to nothing", at("/nothing"), expect{status: 503}},
		{"no share", at("/none"), expect{status: 503}},
		{"fault", at("/fault"), expect{status: 555}},
		{"no way outside", outside, expect{status: 502}},
		{"no way outside by TCP", simulate.Call{Listener: "virtualOutbound", Destination: to("192.0.2.1:22"), TCP: true}, expect{closed: true}},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, p) })
	}
}

// TestSidecarHasNoCredential: with a rule's credentialName that is not for
// sidecars the cluster is there, and asks for a secret that never comes: in the
// clear it must not go.
func TestSidecarHasNoCredential(t *testing.T) {
	m := meshtest.Bookshop()
	rule := meshtest.Rule("reviews", "default", meshtest.Host("reviews", "default"))
	rule.Traffic.Traffic.TLS = &model.ClientTLS{Mode: model.TLSMutual, Credential: "cert"}
	tr := New()
	snap := tr.Snapshot(view.Of(m.Policy(rule).Model(), meshtest.Outbound))
	name := "outbound|9080||" + meshtest.Host("reviews", "default")
	res, ok := snap.Of("type.googleapis.com/envoy.config.cluster.v3.Cluster").Get(name)
	if !ok || len(tr.Problems()) != 0 || !strings.Contains(string(res.Body), noSecret) || strings.Contains(string(res.Body), noSecret+"default") {
		t.Errorf("published: %v; problems %+v", ok, tr.Problems())
	}
}
