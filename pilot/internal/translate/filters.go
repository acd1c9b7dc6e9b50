package translate

import (
	"slices"
	"strconv"
	"strings"
	"time"

	commonfault "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	fault "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	grpcstats "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	grpcweb "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	mutation "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	stateful "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// The names of HTTP filters; a route configures a filter by its name.
const (
	faultFilter = "envoy.filters.http.fault"
	corsFilter  = "envoy.filters.http.cors"
	webFilter   = "envoy.filters.http.grpc_web"
	// messagesFilter keeps how many messages of a gRPC call have passed.
	messagesFilter = "envoy.filters.http.grpc_stats"
	routerFilter   = "envoy.filters.http.router"
	// These two are off but for routes that configure them.
	reportFilter  = "weft.mesh/load-report"
	sessionFilter = "envoy.filters.http.stateful_session"
)

// httpFilters is the one place that orders HTTP filters; the router is last.
var httpFilters = []struct {
	name   string
	config validated
	roles  []model.Role
}{
	{faultFilter, &fault.HTTPFault{}, []model.Role{model.RoleOutbound, model.RoleRouter, model.RoleGRPCClient}},
	{corsFilter, &corsv3.Cors{}, []model.Role{model.RoleOutbound, model.RoleRouter}},
	{sessionFilter, &stateful.StatefulSession{}, []model.Role{model.RoleOutbound, model.RoleRouter}},
	{reportFilter, &mutation.HeaderMutation{}, []model.Role{model.RoleOutbound, model.RoleInbound, model.RoleRouter}},
	{messagesFilter, &grpcstats.FilterConfig{EmitFilterState: true}, []model.Role{model.RoleOutbound, model.RoleInbound, model.RoleRouter}},
	{routerFilter, &router.Router{}, []model.Role{model.RoleOutbound, model.RoleInbound, model.RoleRouter, model.RoleGRPCClient, model.RoleGRPCServer}},
}

func (b *builder) filters() (out []*hcm.HttpFilter) {
	for _, f := range httpFilters {
		if f.name == routerFilter {
			f.config = b.routerConfig()
		}
		if slices.Contains(f.roles, b.class.Role) && (f.name != messagesFilter || b.counts(grpcMessages)) {
			out = append(out, &hcm.HttpFilter{Name: f.name, Disabled: f.name == reportFilter || f.name == sessionFilter, ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: b.pack(f.config)}})
		}
	}
	return out
}

// grpcWeb turns gRPC-Web into gRPC before all other filters, as Istio does on
// ports of that name. Other requests pass it as they are.
func (b *builder) grpcWeb(m *hcm.HttpConnectionManager, on bool) {
	if on {
		web := &hcm.HttpFilter{Name: webFilter, ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: b.pack(&grpcweb.GrpcWeb{})}}
		m.HttpFilters = slices.Insert(m.HttpFilters, 0, web)
	}
}

// perRoute is what a route sets of the filters; nil if nothing.
func (b *builder) perRoute(r *model.Route) map[string]*anypb.Any {
	var out map[string]*anypb.Any
	set := func(name string, m validated) {
		if out == nil {
			out = map[string]*anypb.Any{}
		}
		out[name] = b.pack(m)
	}
	if f := faultOverride(r.Fault); f != nil {
		set(faultFilter, f)
	}
	if r.CORS != nil {
		set(corsFilter, corsPolicy(r.CORS))
	}
	if s := sessionOf(r); s != nil {
		set(sessionFilter, b.session(s))
	}
	if reports(r) {
		set(reportFilter, dropReport())
	}
	return out
}

// faultOverride renders a fault; nil means that there is none.
// Source: envoy.extensions.filters.http.fault.v3.HTTPFault.
func faultOverride(f *model.Fault) *fault.HTTPFault {
	if f == nil || f.DelayPPM == 0 && f.AbortPPM == 0 {
		return nil
	}
	out := &fault.HTTPFault{}
	if f.DelayPPM > 0 {
		fixed := &commonfault.FaultDelay_FixedDelay{FixedDelay: durationpb.New(f.Delay)}
		out.Delay = &commonfault.FaultDelay{FaultDelaySecifier: fixed, Percentage: millionths(f.DelayPPM)}
	}
	if f.AbortPPM > 0 {
		out.Abort = &fault.FaultAbort{Percentage: millionths(f.AbortPPM), ErrorType: &fault.FaultAbort_HttpStatus{HttpStatus: f.AbortStatus}}
		if f.AbortStatus == 0 {
			out.Abort.ErrorType = &fault.FaultAbort_GrpcStatus{GrpcStatus: f.AbortGRPC}
		}
	}
	return out
}

// corsPolicy renders a cross-origin policy.
// Source: envoy.extensions.filters.http.cors.v3.CorsPolicy.
func corsPolicy(c *model.CORS) *corsv3.CorsPolicy {
	out := &corsv3.CorsPolicy{
		AllowMethods: strings.Join(c.Methods, ","), AllowHeaders: strings.Join(c.Headers, ","), ExposeHeaders: strings.Join(c.Expose, ","),
		FilterEnabled: runtimeMillionths(1_000_000),
	}
	for _, o := range c.Origins {
		out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, stringMatch(&o))
	}
	if c.MaxAge > 0 {
		out.MaxAge = strconv.FormatInt(int64(c.MaxAge/time.Second), 10)
	}
	if c.Credentials != nil {
		out.AllowCredentials = wrapperspb.Bool(*c.Credentials)
	}
	if c.UnmatchedPreflight {
		out.ForwardNotMatchingPreflights = wrapperspb.Bool(c.UnmatchedForward)
	}
	return out
}
