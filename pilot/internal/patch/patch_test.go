package patch

import (
	"encoding/json"
	"strings"
	"testing"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

func packed(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := pack(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// targets are one resource of each kind that can be edited.
func targets(t testing.TB) []Target {
	t.Helper()
	manager := packed(t, &hcm.HttpConnectionManager{
		StatPrefix: "x", NormalizePath: wrapperspb.Bool(true), RequestTimeout: durationpb.New(5e9),
		HttpFilters:    []*hcm.HttpFilter{{Name: "router", ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: packed(t, &router.Router{})}}},
		RouteSpecifier: &hcm.HttpConnectionManager_RouteConfig{RouteConfig: &route.RouteConfiguration{Name: "80", VirtualHosts: []*route.VirtualHost{{Name: "a", Domains: []string{"*"}}}}},
	})
	return []Target{
		{Role: model.RoleOutbound, Message: &cluster.Cluster{Name: "outbound|80||a.test"}},
		{Role: model.RoleOutbound, Message: &route.RouteConfiguration{Name: "80"}},
		{Role: model.RoleOutbound, Table: "80", Message: &route.VirtualHost{Name: "80/a", Domains: []string{"a"}, Routes: []*route.Route{{
			Name: "r", Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}}, Action: &route.Route_DirectResponse{DirectResponse: &route.DirectResponseAction{Status: 200}},
		}}}},
		{Role: model.RoleOutbound, Message: &listener.Listener{Name: "l", FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{
			{Name: "envoy.filters.network.http_connection_manager", ConfigType: &listener.Filter_TypedConfig{TypedConfig: manager}},
		}}}}},
	}
}

func filterOf(to model.ApplyTo, op model.Operation, body string) *model.EnvoyFilter {
	return &model.EnvoyFilter{Namespace: "n", Name: "f", Patches: []model.Patch{{To: to, Op: op, Value: body}}}
}

// TestMergeOfFalse: a wrapper and a duration are one value, which a patch can
// set to its zero.
func TestMergeOfFalse(t *testing.T) {
	body := `{"typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","normalize_path":false,"request_timeout":"0s"}}`
	l := targets(t)[3]
	got := listOf(Listeners, filterOf(model.ToNetworkFilter, model.OpMerge, body)).Apply(l)
	if len(got.Hits) != 1 || len(got.Faults) != 0 {
		t.Fatalf("%+v", got)
	}
	m := &hcm.HttpConnectionManager{}
	if err := got.Message.(*listener.Listener).GetFilterChains()[0].GetFilters()[0].GetTypedConfig().UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	if m.GetNormalizePath() == nil || m.GetNormalizePath().GetValue() || m.GetRequestTimeout().AsDuration() != 0 || m.GetStatPrefix() != "x" {
		t.Errorf("%v", m)
	}
}

// TestOneBadPatch: of several patches the one that spoils the result is left
// out, and named.
func TestOneBadPatch(t *testing.T) {
	f := filterOf(model.ToCluster, model.OpMerge, `{"per_connection_buffer_limit_bytes":7}`)
	f.Patches = append(f.Patches, model.Patch{Index: 1, To: model.ToCluster, Op: model.OpMerge, Value: `{"connect_timeout":"-1s"}`})
	in := targets(t)[0]
	before := proto.Clone(in.Message)
	got := listOf(Clusters, f).Apply(in)
	c := got.Message.(*cluster.Cluster)
	if c.GetPerConnectionBufferLimitBytes().GetValue() != 7 || c.GetConnectTimeout() != nil || len(got.Faults) != 1 || got.Faults[0].Index != 1 {
		t.Errorf("%+v", got)
	}
	if !proto.Equal(before, in.Message) {
		t.Error("the message that was given was written to")
	}
}

// TestHugeAndDeep: bodies that are deep are refused, not followed.
func TestHugeAndDeep(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000)
	f := filterOf(model.ToListener, model.OpMerge, `{"metadata":{"filter_metadata":{"x":`+deep+`}}}`)
	if faults, _ := Review(f); len(faults) == 0 {
		t.Error("accepted")
	}
}

// FuzzApply: whatever a body says, nothing panics, and what comes out is what
// Envoy's own rules allow.
func FuzzApply(f *testing.F) {
	for _, body := range []string{
		`{}`, `{"name":"x"}`, `{"virtual_hosts":[{"name":"a","domains":["*"]}]}`, `{"routes":[{}]}`, `{"filters":[]}`, `{"typed_config":{"@type":"type.googleapis.com/google.protobuf.Any"}}`,
		`{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}`, `{"typed_config":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"a":[1]}}}`,
		`{"transport_socket":{"name":"tls","typed_config":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext","sni":"a"}}}`,
	} {
		f.Add(uint8(0), uint8(0), body)
		f.Add(uint8(5), uint8(3), body)
	}
	parts := []model.ApplyTo{model.ToListener, model.ToListenerFilter, model.ToFilterChain, model.ToNetworkFilter, model.ToHTTPFilter, model.ToRouteTable, model.ToVirtualHost, model.ToRoute, model.ToCluster, model.ToExtension}
	ops := []model.Operation{model.OpMerge, model.OpMergeReplace, model.OpAdd, model.OpRemove, model.OpInsertBefore, model.OpInsertAfter, model.OpInsertFirst, model.OpReplace}
	f.Fuzz(func(t *testing.T, to, op uint8, body string) {
		if !json.Valid([]byte(body)) {
			return
		}
		ef := filterOf(parts[int(to)%len(parts)], ops[int(op)%len(ops)], body)
		Review(ef)
		for _, family := range families {
			list := listOf(family, ef)
			list.Added(Place{Role: model.RoleOutbound, Table: "80", Taken: func(string) bool { return false }, Domain: func(string) bool { return false }})
			for _, target := range targets(t) {
				got := list.Apply(target)
				if len(got.Hits) > 0 && got.Message != nil && valid(got.Message) != nil {
					t.Errorf("%s: %v", body, valid(got.Message))
				}
			}
		}
	})
}
