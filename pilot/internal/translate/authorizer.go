package translate

import (
	"cmp"
	"slices"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	extauthz "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	extauthzbytes "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	xtype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/internal/model"
)

// The names of the filters that ask an external authorizer, and of what tells
// them to, as in Istio.
const (
	askFilter       = "envoy.filters.http.ext_authz"
	askBytesFilter  = "envoy.filters.network.ext_authz"
	askPrefix       = "istio_ext_authz_"
	askDryRunPrefix = "istio_dry_run_ext_authz_"
	badAskSuffix    = "-deny-due-to-bad-CUSTOM-action"
)

// question is what one authorizer is asked about.
type question struct {
	// authorizer is nil where there is none: what the rules take is denied.
	authorizer *model.AskedAuthorizer
	provider   string
	decision
}

// questions are the rules of the CUSTOM policies, by authorizer; those of dry
// runs only count. They go before all that denies and allows (Istio,
// AuthorizationPolicy.Action).
func (b *builder) questions(as form) (out []question) {
	for _, p := range b.rights() {
		if p.Action != model.AuthCustom {
			continue
		}
		at := slices.IndexFunc(out, func(q question) bool { return q.provider == p.Provider })
		if at < 0 {
			at = len(out)
			out = append(out, question{authorizer: b.authorizer(p.Provider), provider: p.Provider})
		}
		to := &out[at].rules
		if p.DryRun {
			to = &out[at].shadow
		}
		if *to == nil {
			*to = &rbac.RBAC{Action: rbac.RBAC_DENY, Policies: map[string]*rbac.Policy{}}
		}
		addRules((*to).GetPolicies(), p, as)
	}
	slices.SortFunc(out, func(a, b question) int { return cmp.Compare(a.provider, b.provider) })
	return out
}

// authorizer is that of a name; nil if proxies of the class can reach none.
func (b *builder) authorizer(name string) *model.AskedAuthorizer {
	for _, a := range b.authorizers() {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// named are rules by the names of policies that begin and end so.
func named(rules *rbac.RBAC, prefix, suffix string) *rbac.RBAC {
	if rules == nil {
		return nil
	}
	out := &rbac.RBAC{Action: rules.GetAction(), Policies: map[string]*rbac.Policy{}}
	for name, p := range rules.GetPolicies() {
		out.Policies[prefix+name+suffix] = p
	}
	return out
}

// steps are the decisions that come of a question: of dry runs, which count, and
// of the others, which mark what the authorizer is asked about, or deny it where
// it cannot be asked.
func (q question) steps(askable bool) (out []decision) {
	prefix := "istio-ext-authz-" + q.provider + "-"
	if q.shadow != nil {
		out = append(out, decision{shadow: named(q.shadow, prefix, ""), prefix: askDryRunPrefix})
	}
	switch {
	case q.rules == nil:
	case askable:
		out = append(out, decision{shadow: named(q.rules, prefix, ""), prefix: askPrefix})
	default:
		out = append(out, decision{rules: named(q.rules, prefix, badAskSuffix)})
	}
	return out
}

// marked is whether a filter of rights found that a policy of this provider
// takes the call. The mark of another whose name begins so must not count.
func (q question) marked(filter string) *matcher.MetadataMatcher {
	return metadataMatch(filter, []string{askPrefix + "shadow_effective_policy_id"}, &matcher.ValueMatcher{MatchPattern: &matcher.ValueMatcher_StringMatch{
		StringMatch: &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Prefix{Prefix: "istio-ext-authz-" + q.provider + "-ns["}},
	}})
}

// askFilters ask about requests.
// Source: envoy.extensions.filters.http.ext_authz.v3.ExtAuthz.
func (b *builder) askFilters(as form) (out []*hcm.HttpFilter) {
	for _, q := range b.questions(as) {
		for _, d := range q.steps(q.authorizer != nil) {
			out = append(out, b.rightsHTTP(d))
		}
		if a := q.authorizer; a != nil && q.rules != nil {
			config := &extauthz.ExtAuthz{
				FailureModeAllow: a.FailOpen, ClearRouteCache: a.ClearRoutes, TransportApiVersion: core.ApiVersion_V3, FilterEnabledMetadata: q.marked(rightsFilter),
			}
			if a.StatusOnError != 0 {
				config.StatusOnError = &xtype.HttpStatus{Code: xtype.StatusCode(a.StatusOnError)}
			}
			if body := a.Body; body != nil {
				config.WithRequestBody = &extauthz.BufferSettings{MaxRequestBytes: body.MaxBytes, AllowPartialMessage: body.Partial, PackAsBytes: body.Bytes && a.GRPC}
			}
			if a.GRPC {
				config.Services = &extauthz.ExtAuthz_GrpcService{GrpcService: askGRPC(a)}
			} else {
				config.Services, config.AllowedHeaders = &extauthz.ExtAuthz_HttpService{HttpService: askHTTP(a)}, headerNames(a.HTTP.Shown)
			}
			out = append(out, &hcm.HttpFilter{Name: askFilter, ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: b.pack(config)}})
		}
	}
	return out
}

// askBytes ask about connections. One that is asked over HTTP cannot be: what
// the rules take is closed.
// Source: envoy.extensions.filters.network.ext_authz.v3.ExtAuthz.
func (b *builder) askBytes(as form) (out []*listener.Filter) {
	for _, q := range b.questions(as) {
		askable := q.authorizer != nil && q.authorizer.GRPC
		for _, d := range q.steps(askable) {
			out = append(out, b.rightsBytes(d))
		}
		if askable && q.rules != nil {
			out = append(out, b.filter(askBytesFilter, &extauthzbytes.ExtAuthz{
				StatPrefix: "tcp.", FailureModeAllow: q.authorizer.FailOpen, TransportApiVersion: core.ApiVersion_V3,
				GrpcService: askGRPC(q.authorizer), FilterEnabledMetadata: q.marked(rightsBytesFilter),
			}))
		}
	}
	return out
}

func askGRPC(a *model.AskedAuthorizer) *core.GrpcService {
	out := grpcService(a.Cluster, a.Host)
	out.Timeout = durationpb.New(a.Timeout)
	return out
}

func askHTTP(a *model.AskedAuthorizer) *extauthz.HttpService {
	out := &extauthz.HttpService{
		PathPrefix: a.HTTP.PathPrefix,
		ServerUri: &core.HttpUri{
			Uri: "http://" + a.Host, Timeout: durationpb.New(a.Timeout), HttpUpstreamType: &core.HttpUri_Cluster{Cluster: a.Cluster},
		},
	}
	for _, h := range a.HTTP.Added {
		if out.AuthorizationRequest == nil {
			out.AuthorizationRequest = &extauthz.AuthorizationRequest{}
		}
		out.AuthorizationRequest.HeadersToAdd = append(out.AuthorizationRequest.HeadersToAdd, &core.HeaderValue{Key: h.Name, Value: h.Value})
	}
	if h := a.HTTP; len(h.Upstream)+len(h.Denied)+len(h.Allowed) > 0 {
		out.AuthorizationResponse = &extauthz.AuthorizationResponse{
			AllowedUpstreamHeaders: headerNames(h.Upstream), AllowedClientHeaders: headerNames(h.Denied), AllowedClientHeadersOnSuccess: headerNames(h.Allowed),
		}
	}
	return out
}

// headerNames match names of headers; nil: none are given.
func headerNames(all []model.StringMatch) *matcher.ListStringMatcher {
	if len(all) == 0 {
		return nil
	}
	out := &matcher.ListStringMatcher{}
	for _, m := range all {
		out.Patterns = append(out.Patterns, stringMatch(&m))
	}
	return out
}
