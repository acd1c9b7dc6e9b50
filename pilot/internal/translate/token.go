package translate

import (
	"fmt"
	"slices"
	"time"

	mutationrules "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwt "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	early "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weftmesh/weft/internal/model"
)

const (
	// noKeys is the issuer of a rule without keys. Envoy takes no key set that is
	// empty, and a key of ours would be one that somebody may have: keys are to be
	// asked of a cluster that answers nothing.
	noKeys = "weft.mesh/no-keys"
	// claimHeaders takes headers out of requests that only a token may bring.
	claimHeaders = "weft.mesh/token-headers"
)

// tokenFilters check the tokens of requests; none where no policy asks for it.
// A request without a token passes, and so do preflights of browsers, which
// have none.
// Source: envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication.
func (b *builder) tokenFilters() []*hcm.HttpFilter {
	issuers := b.tokenIssuers()
	if len(issuers) == 0 {
		return nil
	}
	config := &jwt.JwtAuthentication{Providers: map[string]*jwt.JwtProvider{}, BypassCorsPreflight: true}
	var each []*jwt.JwtRequirement
	for i, same := range placesOfIssuers(issuers) {
		var any []*jwt.JwtRequirement
		for _, n := range same.issuers {
			name := fmt.Sprintf("%s/%d", issuers[n].name, i)
			config.Providers[name] = tokenProvider(issuers[n].at(same.places))
			// A gateway's routes may ask for what the token brings; it was chosen
			// before the token was checked.
			config.Providers[name].ClearRouteCache = b.class.Role == model.RoleRouter
			any = append(any, &jwt.JwtRequirement{RequiresType: &jwt.JwtRequirement_ProviderName{ProviderName: name}})
		}
		each = append(each, anyOrMissing(any))
	}
	config.Rules = []*jwt.RequirementRule{{
		Match:           &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
		RequirementType: &jwt.RequirementRule_Requires{Requires: allTokens(each)},
	}}
	check := &hcm.HttpFilter{Name: tokenFilter, ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: b.pack(config)}}
	return []*hcm.HttpFilter{check}
}

// tokenIssuers are the issuers of all policies: they count as one policy.
// Source: istio.io/api security/v1beta1, RequestAuthentication.
func (b *builder) tokenIssuers() (out []namedIssuer) {
	for _, p := range b.tokens() {
		for i, issuer := range p.Issuers {
			out = append(out, namedIssuer{fmt.Sprintf("%s/%s/%d", p.Namespace, p.Name, i), issuer})
		}
	}
	return out
}

// withoutClaims takes out of every request what only tokens may bring: Envoy
// takes out only what the issuers that it asks would bring. It is done before a
// route is chosen, since routes may ask for such headers.
// Source: HttpConnectionManager.early_header_mutation_extensions.
func (b *builder) withoutClaims(m *hcm.HttpConnectionManager) {
	var names []string
	for _, in := range b.tokenIssuers() {
		names = append(names, in.Brings()...)
	}
	slices.Sort(names)
	remove := &early.HeaderMutation{}
	for _, name := range slices.Compact(names) {
		remove.Mutations = append(remove.Mutations, &mutationrules.HeaderMutation{Action: &mutationrules.HeaderMutation_Remove{Remove: name}})
	}
	if len(names) > 0 {
		m.EarlyHeaderMutationExtensions = []*core.TypedExtensionConfig{{Name: claimHeaders, TypedConfig: b.pack(remove)}}
	}
}

// anyOrMissing asks for a token that is right for one of some issuers, or for
// none at all.
func anyOrMissing(any []*jwt.JwtRequirement) *jwt.JwtRequirement {
	missing := &jwt.JwtRequirement{RequiresType: &jwt.JwtRequirement_AllowMissing{AllowMissing: &emptypb.Empty{}}}
	return &jwt.JwtRequirement{RequiresType: &jwt.JwtRequirement_RequiresAny{RequiresAny: &jwt.JwtRequirementOrList{Requirements: append(any, missing)}}}
}

func allTokens(each []*jwt.JwtRequirement) *jwt.JwtRequirement {
	if len(each) == 1 {
		return each[0] // Envoy wants two at least
	}
	return &jwt.JwtRequirement{RequiresType: &jwt.JwtRequirement_RequiresAll{RequiresAll: &jwt.JwtRequirementAndList{Requirements: each}}}
}

// tokenProvider renders an issuer. One without keys has the name of nobody, so
// that its tokens are refused as those of an unknown issuer are; who writes that
// name into a token gets no further than to keys that are not there.
func tokenProvider(in model.TokenIssuer) *jwt.JwtProvider {
	out := &jwt.JwtProvider{
		Issuer: in.Issuer, Audiences: in.Audiences, Forward: in.Forward, ForwardPayloadHeader: in.PayloadHeader,
		FromParams: in.Params, FromCookies: in.Cookies, PayloadInMetadata: tokenPayload,
		NormalizePayloadInMetadata: &jwt.JwtProvider_NormalizePayload{SpaceDelimitedClaims: in.SpaceDelimited},
		JwksSourceSpecifier:        &jwt.JwtProvider_LocalJwks{LocalJwks: &core.DataSource{Specifier: &core.DataSource_InlineString{InlineString: in.Keys}}},
	}
	if in.Keys == "" {
		out.Issuer = noKeys
		out.JwksSourceSpecifier = &jwt.JwtProvider_RemoteJwks{RemoteJwks: &jwt.RemoteJwks{HttpUri: &core.HttpUri{
			Uri: "https://" + noKeys, HttpUpstreamType: &core.HttpUri_Cluster{Cluster: blackHoleCluster}, Timeout: durationpb.New(time.Second),
		}}}
	}
	for _, h := range in.Headers {
		out.FromHeaders = append(out.FromHeaders, &jwt.JwtHeader{Name: h.Name, ValuePrefix: h.Prefix})
	}
	for _, c := range in.ClaimHeaders {
		out.ClaimToHeaders = append(out.ClaimToHeaders, &jwt.JwtClaimToHeader{HeaderName: c.Header, ClaimName: c.Claim})
	}
	return out
}
