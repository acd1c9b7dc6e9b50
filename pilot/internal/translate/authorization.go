package translate

import (
	"fmt"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbachttp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	rbacbytes "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"

	"github.com/weftmesh/weft/internal/model"
)

// The names of the filters that decide, as in Istio.
const (
	rightsFilter      = "envoy.filters.http.rbac"
	rightsBytesFilter = "envoy.filters.network.rbac"
)

// decision is one filter: the rules of all policies of an action, and of those
// that only count.
type decision struct {
	rules, shadow *rbac.RBAC
	// prefix of the shadow rules' statistics.
	prefix string
}

// form gives a rule as it can be asked somewhere; false: it takes nothing there.
type form func(model.AuthRule, model.AuthAction) (model.AuthRule, bool)

// whole is the form for Envoy's HTTP filters, which can ask for all.
func whole(r model.AuthRule, _ model.AuthAction) (model.AuthRule, bool) { return r, true }

// behind is the form behind a gateway's server: names in certificates that
// nobody verified are nobody's.
func behind(t *model.ServerTLS) form {
	if t != nil && t.AnyClient {
		return model.AuthRule.ForUnproven
	}
	return whole
}

// decisions are asked one after another: marks for the log, then what denies,
// then what allows. An ALLOW of no rules allows nothing.
func (b *builder) decisions(as form) (out []decision) {
	for _, action := range []struct {
		name   model.AuthAction
		envoy  rbac.RBAC_Action
		prefix string
	}{
		{model.AuthAudit, rbac.RBAC_LOG, ""},
		{model.AuthDeny, rbac.RBAC_DENY, "istio_dry_run_deny_"},
		{model.AuthAllow, rbac.RBAC_ALLOW, "istio_dry_run_allow_"},
	} {
		d := decision{}
		for _, a := range b.rights() {
			if a.Action != action.name {
				continue
			}
			to := &d.rules
			if a.DryRun {
				to, d.prefix = &d.shadow, action.prefix
			}
			if *to == nil {
				*to = &rbac.RBAC{Action: action.envoy, Policies: map[string]*rbac.Policy{}}
			}
			addRules((*to).GetPolicies(), a, as)
		}
		if d.rules != nil || d.shadow != nil {
			out = append(out, d)
		}
	}
	return out
}

// rightsOrigins are the objects that the decisions come from.
func (b *builder) rightsOrigins() (out []model.Origin) {
	for _, a := range b.rights() {
		out = append(out, a.Origin)
	}
	return out
}

// addRules adds the rules of a policy by Istio's names, which the answer to a
// denied request and the access log have.
func addRules(to map[string]*rbac.Policy, a *model.Authorization, as form) {
	for _, r := range a.Rules {
		r, ok := as(r, a.Action)
		if !ok {
			continue
		}
		to[fmt.Sprintf("ns[%s]-policy[%s]-rule[%d]", a.Namespace, a.Name, r.Index)] = rulePolicy(r)
	}
}

// rightsFilters decide on requests.
// Source: envoy.extensions.filters.http.rbac.v3.RBAC.
func (b *builder) rightsFilters(as form) (out []*hcm.HttpFilter) {
	out = b.askFilters(as)
	for _, d := range b.decisions(as) {
		out = append(out, b.rightsHTTP(d))
	}
	return out
}

func (b *builder) rightsHTTP(d decision) *hcm.HttpFilter {
	config := &rbachttp.RBAC{Rules: d.rules, ShadowRules: d.shadow, ShadowRulesStatPrefix: d.prefix}
	return &hcm.HttpFilter{Name: rightsFilter, ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: b.pack(config)}}
}

// rightsOfBytes decide on connections.
// Source: envoy.extensions.filters.network.rbac.v3.RBAC.
func (b *builder) rightsOfBytes(as form) (out []*listener.Filter) {
	bytes := func(r model.AuthRule, action model.AuthAction) (model.AuthRule, bool) {
		r, ok := as(r, action)
		if !ok {
			return r, false
		}
		return r.ForBytes(action)
	}
	out = b.askBytes(bytes)
	for _, d := range b.decisions(bytes) {
		out = append(out, b.rightsBytes(d))
	}
	return out
}

func (b *builder) rightsBytes(d decision) *listener.Filter {
	return b.filter(rightsBytesFilter, &rbacbytes.RBAC{Rules: d.rules, ShadowRules: d.shadow, ShadowRulesStatPrefix: d.prefix, StatPrefix: "tcp."})
}

// rulePolicy renders one rule: what is asked for are its permissions, who asks its
// principals; a condition is added to each of the one or the other.
// Source: envoy.config.rbac.v3.Policy.
func rulePolicy(r model.AuthRule) *rbac.Policy {
	out := &rbac.Policy{}
	for _, terms := range orAny(r.To) {
		out.Permissions = append(out.Permissions, permission(join(terms, r.When, false)))
	}
	for _, terms := range orAny(r.From) {
		out.Principals = append(out.Principals, principal(join(terms, r.When, true)))
	}
	return out
}

// orAny is the one list without conditions where there is none.
func orAny(lists []model.AuthTerms) []model.AuthTerms {
	if len(lists) == 0 {
		return []model.AuthTerms{nil}
	}
	return lists
}

// join adds those conditions that are of the caller, or that are not.
func join(terms, when model.AuthTerms, caller bool) (out model.AuthTerms) {
	out = append(out, terms...)
	for _, t := range when {
		if t.Attr.OfCaller() == caller {
			out = append(out, t)
		}
	}
	return out
}

func permission(terms model.AuthTerms) *rbac.Permission {
	all := demands(terms, permissionOf, func(p *rbac.Permission) *rbac.Permission {
		return &rbac.Permission{Rule: &rbac.Permission_NotRule{NotRule: p}}
	})
	if len(all) == 0 {
		return &rbac.Permission{Rule: &rbac.Permission_Any{Any: true}}
	}
	return &rbac.Permission{Rule: &rbac.Permission_AndRules{AndRules: &rbac.Permission_Set{Rules: all}}}
}

// demands are what must all hold: of each term one of its values, if it has any,
// and none of those against it.
func demands[T any](terms model.AuthTerms, anyOf func(model.AuthTerm, []model.AuthValue) T, not func(T) T) (all []T) {
	for _, t := range terms {
		if len(t.Is) > 0 {
			all = append(all, anyOf(t, t.Is))
		}
		if len(t.Not) > 0 {
			all = append(all, not(anyOf(t, t.Not)))
		}
	}
	return all
}

// permissionOf holds for any of values.
func permissionOf(t model.AuthTerm, values []model.AuthValue) *rbac.Permission {
	any := []*rbac.Permission{}
	for _, v := range values {
		switch t.Attr {
		case model.AuthPort:
			any = append(any, &rbac.Permission{Rule: &rbac.Permission_DestinationPort{DestinationPort: v.Port}})
		case model.AuthDestinationIP:
			any = append(any, &rbac.Permission{Rule: &rbac.Permission_DestinationIp{DestinationIp: cidrRange(v.Range)}})
		default:
			any = append(any, permissionsOfText(t, v)...)
		}
	}
	return &rbac.Permission{Rule: &rbac.Permission_OrRules{OrRules: &rbac.Permission_Set{Rules: any}}}
}

func permissionsOfText(t model.AuthTerm, v model.AuthValue) (any []*rbac.Permission) {
	for _, m := range v.Matches {
		switch t.Attr {
		case model.AuthSNI:
			any = append(any, &rbac.Permission{Rule: &rbac.Permission_RequestedServerName{RequestedServerName: textMatch(&m)}})
		case model.AuthPath:
			any = append(any, &rbac.Permission{Rule: &rbac.Permission_UrlPath{UrlPath: wholePath(&m)}})
		case model.AuthHost:
			any = append(any, &rbac.Permission{Rule: &rbac.Permission_Header{Header: headerMatch(":authority", &m, false)}})
		default:
			any = append(any, &rbac.Permission{Rule: &rbac.Permission_Header{Header: headerMatch(":method", &m, false)}})
		}
	}
	return any
}

func principal(terms model.AuthTerms) *rbac.Principal {
	all := demands(terms, principalOf, func(p *rbac.Principal) *rbac.Principal {
		return &rbac.Principal{Identifier: &rbac.Principal_NotId{NotId: p}}
	})
	if len(all) == 0 {
		return &rbac.Principal{Identifier: &rbac.Principal_Any{Any: true}}
	}
	return allOf(all...)
}

func allOf(all ...*rbac.Principal) *rbac.Principal {
	return &rbac.Principal{Identifier: &rbac.Principal_AndIds{AndIds: &rbac.Principal_Set{Ids: all}}}
}

// principalOf holds for any of values.
func principalOf(t model.AuthTerm, values []model.AuthValue) *rbac.Principal {
	any := []*rbac.Principal{}
	for _, v := range values {
		switch t.Attr {
		case model.AuthSourceIP:
			any = append(any, &rbac.Principal{Identifier: &rbac.Principal_DirectRemoteIp{DirectRemoteIp: cidrRange(v.Range)}})
		case model.AuthRemoteIP:
			any = append(any, &rbac.Principal{Identifier: &rbac.Principal_RemoteIp{RemoteIp: cidrRange(v.Range)}})
		case model.AuthRequestPrincipal:
			any = append(any, allOf(fromMetadata(claim([]string{"iss"}, []model.StringMatch{*v.Issuer})), fromMetadata(claim([]string{"sub"}, []model.StringMatch{*v.Subject}))))
		case model.AuthClaim:
			any = append(any, fromMetadata(claim(t.Key, v.Matches)))
		case model.AuthMetadata:
			any = append(any, fromMetadata(metadataMatch(t.Key[0], t.Key[1:], listOrText(v.Matches, v.List, !v.List))))
		case model.AuthHeader:
			for _, m := range v.Matches {
				any = append(any, &rbac.Principal{Identifier: &rbac.Principal_Header{Header: headerMatch(t.Key[0], &m, false)}})
			}
		default: // who the certificate says
			for _, m := range v.Matches {
				any = append(any, &rbac.Principal{Identifier: &rbac.Principal_Authenticated_{Authenticated: &rbac.Principal_Authenticated{PrincipalName: textMatch(&m)}}})
			}
		}
	}
	return &rbac.Principal{Identifier: &rbac.Principal_OrIds{OrIds: &rbac.Principal_Set{Ids: any}}}
}
