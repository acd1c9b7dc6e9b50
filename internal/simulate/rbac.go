package simulate

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbachttp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	rbacbytes "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
)

// rbacHTTP decides on a request; what it denies is answered 403.
// Source: envoy.extensions.filters.http.rbac.v3.RBAC.
func (w walk) rbacHTTP(config *rbachttp.RBAC, next step) ([]Outcome, error) {
	if err := checkKnown(config); err != nil {
		return nil, err
	}
	allowed, policy := true, ""
	if rules := config.GetRules(); rules != nil {
		var err error
		if allowed, policy, err = w.takes(rules); err != nil {
			return nil, err
		}
	}
	if err := w.mark("envoy.filters.http.rbac", config.GetShadowRulesStatPrefix(), config.GetShadowRules()); err != nil {
		return nil, err
	}
	if !allowed {
		w.tellDenier(policy)
		return w.local(403, "RBAC: access denied"), nil
	}
	return next(w)
}

// denierHeader is where the pilot has a manager name the policy.
const denierHeader = "x-weft-denied-by"

// tellDenier puts the policy's NAMESPACE/NAME into the answer where the manager's
// own replies have the header for it.
func (w *walk) tellDenier(policy string) {
	for _, m := range w.manager.GetLocalReplyConfig().GetMappers() {
		for _, h := range m.GetHeadersToAdd() {
			if h.GetHeader().GetKey() != denierHeader {
				continue
			}
			name := "none"
			if parts := policyName.FindStringSubmatch(policy); parts != nil {
				name = parts[1] + "/" + parts[2]
			}
			w.out.Response = w.out.Response.With(denierHeader, name)
		}
	}
}

// policyName reads Istio's name of a rule, before which may be its provider's.
var policyName = regexp.MustCompile(`^.*ns\[([^]]+)\]-policy\[([^]]+)\]`)

// rbacBytes decides on a connection, once its client has sent something.
// Source: envoy.extensions.filters.network.rbac.v3.RBAC.
func (w *walk) rbacBytes(config *rbacbytes.RBAC) (bool, error) {
	if err := checkKnown(config); err != nil {
		return false, err
	}
	if err := w.mark("envoy.filters.network.rbac", config.GetShadowRulesStatPrefix(), config.GetShadowRules()); err != nil {
		return false, err
	}
	return w.allowed(config.GetRules())
}

// allowed says what rules make of the call; none allow everything, as does
// LOG, which only marks.
func (w walk) allowed(rules *rbac.RBAC) (bool, error) {
	if rules == nil {
		return true, nil
	}
	allowed, _, err := w.takes(rules)
	return allowed, err
}

// takes is allowed with the name of the first policy, in their order, that takes
// the call; "": none does.
func (w walk) takes(rules *rbac.RBAC) (allowed bool, name string, err error) {
	if err := checkKnown(rules); err != nil {
		return false, "", err
	}
	for _, name := range slices.Sorted(maps.Keys(rules.GetPolicies())) {
		p := rules.GetPolicies()[name]
		if err := checkKnown(p); err != nil {
			return false, "", err
		}
		asked, err := anyOf(p.GetPermissions(), w.permitted)
		if err != nil {
			return false, "", err
		}
		who, err := anyOf(p.GetPrincipals(), w.principal)
		if err != nil {
			return false, "", err
		}
		if asked && who {
			return rules.GetAction() != rbac.RBAC_DENY, name, nil
		}
	}
	return rules.GetAction() != rbac.RBAC_ALLOW, "", nil
}

func anyOf[T any](all []T, holds func(T) (bool, error)) (bool, error) {
	found := false
	for _, one := range all { // all are looked at: what is not known must be said
		ok, err := holds(one)
		if err != nil {
			return false, err
		}
		found = found || ok
	}
	return found, nil
}

func allOf[T any](all []T, holds func(T) (bool, error)) (bool, error) {
	fails, err := anyOf(all, func(one T) (bool, error) {
		ok, err := holds(one)
		return !ok, err
	})
	return !fails, err
}

func (w walk) permitted(p *rbac.Permission) (bool, error) {
	r := w.out.Request
	switch rule := p.GetRule().(type) {
	case *rbac.Permission_Any:
		return rule.Any, nil
	case *rbac.Permission_AndRules:
		return allOf(rule.AndRules.GetRules(), w.permitted)
	case *rbac.Permission_OrRules:
		return anyOf(rule.OrRules.GetRules(), w.permitted)
	case *rbac.Permission_NotRule:
		holds, err := w.permitted(rule.NotRule)
		return !holds, err
	case *rbac.Permission_Header:
		return matchHeader(rule.Header, w.header(rule.Header.GetName()))
	case *rbac.Permission_UrlPath:
		bare, _, _ := strings.Cut(r.Path, "?")
		return matchString(rule.UrlPath.GetPath(), bare)
	case *rbac.Permission_DestinationPort:
		return uint32(w.conn.destination.Port()) == rule.DestinationPort, nil
	case *rbac.Permission_DestinationIp:
		return inRange(rule.DestinationIp, w.conn.destination.Addr()), nil
	case *rbac.Permission_RequestedServerName:
		return matchString(rule.RequestedServerName, w.conn.serverName)
	}
	return false, unknown("permission %T", p.GetRule())
}

func (w walk) principal(p *rbac.Principal) (bool, error) {
	switch id := p.GetIdentifier().(type) {
	case *rbac.Principal_Any:
		return id.Any, nil
	case *rbac.Principal_AndIds:
		return allOf(id.AndIds.GetIds(), w.principal)
	case *rbac.Principal_OrIds:
		return anyOf(id.OrIds.GetIds(), w.principal)
	case *rbac.Principal_NotId:
		holds, err := w.principal(id.NotId)
		return !holds, err
	case *rbac.Principal_Authenticated_:
		if !w.secure {
			return false, nil
		}
		if id.Authenticated.GetPrincipalName() == nil {
			return true, nil
		}
		return matchString(id.Authenticated.GetPrincipalName(), w.identity())
	case *rbac.Principal_DirectRemoteIp:
		return inRange(id.DirectRemoteIp, w.conn.source.Addr()), nil
	case *rbac.Principal_RemoteIp:
		return inRange(id.RemoteIp, w.client()), nil
	case *rbac.Principal_Header:
		return matchHeader(id.Header, w.header(id.Header.GetName()))
	case *rbac.Principal_SourcedMetadata:
		if id.SourcedMetadata.GetMetadataSource() != rbac.MetadataSource_DYNAMIC {
			return false, unknown("metadata of %v", id.SourcedMetadata.GetMetadataSource())
		}
		return w.matchMetadata(id.SourcedMetadata.GetMetadataMatcher())
	}
	return false, unknown("principal %T", p.GetIdentifier())
}

// header gives the values of a header or pseudo header.
func (w walk) header(name string) []string {
	r := w.out.Request
	switch name {
	case ":authority":
		return []string{r.Host}
	case ":method":
		return []string{r.Method}
	case ":path":
		return []string{r.Path}
	}
	return r.Headers.Values(name)
}

// client is whom the request is from as the proxy believes: at the edge the
// connection's other end, or with trusted hops one of x-forwarded-for; else the
// last of x-forwarded-for.
// Source: "x-forwarded-for" of Envoy's documentation.
func (w walk) client() netip.Addr {
	if w.remote.IsValid() {
		return w.remote
	}
	return w.conn.source.Addr()
}

func inRange(r *core.CidrRange, addr netip.Addr) bool {
	ip, err := netip.ParseAddr(r.GetAddressPrefix())
	if err != nil {
		return false
	}
	prefix, err := ip.Prefix(int(r.GetPrefixLen().GetValue()))
	return err == nil && prefix.Contains(addr.Unmap())
}
