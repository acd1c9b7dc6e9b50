package patch

import (
	"errors"
	"fmt"
	"slices"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/model"
)

// httpFilters edits the filters of a connection manager.
func httpFilters(p *patch, m *hcm.HttpConnectionManager) (hit bool, err error) {
	if p.Class != "" {
		at := placeOf(p.Class, m.GetHttpFilters())
		m.HttpFilters = slices.Insert(m.HttpFilters, at, proto.Clone(p.body).(*hcm.HttpFilter))
		return true, nil
	}
	picked := p.httpFilter()
	m.HttpFilters, hit, err = items[*hcm.HttpFilter]{
		all: m.GetHttpFilters(), picked: picked != "",
		named: func(f *hcm.HttpFilter) bool { return picked == "" || f.GetName() == picked },
		merge: func(f *hcm.HttpFilter) (bool, error) { return mergeTyped(f, p.body, p.lists(), picked == "") },
	}.edit(p)
	return hit, err
}

// The types of filters after which those of a class belong.
var (
	authnTypes = []string{"envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication", "envoy.extensions.filters.http.oauth2.v3.OAuth2", "envoy.extensions.filters.http.basic_auth.v3.BasicAuth"}
	authzTypes = append(slices.Clone(authnTypes), "envoy.extensions.filters.http.rbac.v3.RBAC", "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz")
)

// placeOf is where a filter of a class goes: behind those that authenticate,
// behind those that authorise too, or before the last, which sends requests on.
// Source: EnvoyFilter.Patch.FilterClass.
func placeOf(class model.FilterClass, all []*hcm.HttpFilter) int {
	types := authnTypes
	switch class {
	case model.ClassStats:
		return max(0, len(all)-1)
	case model.ClassAuthz:
		types = authzTypes
	case model.ClassAuthn:
	}
	for i, f := range slices.Backward(all) {
		if slices.Contains(types, short(f.GetTypedConfig())) {
			return i + 1
		}
	}
	return 0
}

// The filters that end a chain: what comes after them would never run, and
// Envoy refuses it.
var (
	lastHTTP = []string{"envoy.extensions.filters.http.router.v3.Router"}
	lastTCP  = []string{
		"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
		"envoy.extensions.filters.network.redis_proxy.v3.RedisProxy", "envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy",
		"envoy.extensions.filters.network.direct_response.v3.Config", "envoy.extensions.filters.network.echo.v3.Echo",
		"envoy.extensions.filters.network.generic_proxy.v3.GenericProxy",
	}
)

// soundManager checks that requests are sent on in the end.
func soundManager(m *hcm.HttpConnectionManager) error {
	all := m.GetHttpFilters()
	for i, f := range all {
		switch last := slices.Contains(lastHTTP, short(f.GetTypedConfig())); {
		case last && i < len(all)-1:
			return fmt.Errorf("HTTP filter %q is behind the router, which must be the last; use INSERT_BEFORE", all[i+1].GetName())
		case !last && i == len(all)-1 && f.GetTypedConfig() != nil && !dynamic(f.GetTypedConfig()):
			return errors.New("the last HTTP filter is not the router, so requests would go nowhere")
		}
	}
	if len(all) == 0 {
		return errors.New("no HTTP filter is left, so requests would go nowhere")
	}
	if m.GetRouteConfig() != nil {
		if err := distinctDomains(m.GetRouteConfig().GetVirtualHosts()); err != nil {
			return err
		}
	}
	return m.Validate()
}

// dynamic are configurations whose type is in them and not known here.
func dynamic(a *anypb.Any) bool {
	name := short(a)
	return name == "udpa.type.v1.TypedStruct" || name == "xds.type.v3.TypedStruct"
}

// sound checks what the rules of single messages do not: that each chain ends,
// and that connections find it.
func (e *listenerEditor) sound() error {
	if len(e.chains()) == 0 {
		return errors.New("no filter chain is left; REMOVE the LISTENER if that is meant")
	}
	names := map[string]bool{}
	for _, c := range e.chains() {
		if err := soundChain(c); err != nil {
			return fmt.Errorf("filter chain %q: %w", c.GetName(), err)
		}
		if e.l.GetFilterChainMatcher() == nil {
			continue
		}
		switch {
		case c.GetName() == "" || names[c.GetName()]:
			return fmt.Errorf("filter chain %q of listener %s needs a name of its own", c.GetName(), e.l.GetName())
		case c.GetFilterChainMatch() != nil:
			return fmt.Errorf("filter chain %q: listener %s chooses its chains by a matcher, so they have no filter_chain_match", c.GetName(), e.l.GetName())
		}
		names[c.GetName()] = true
	}
	if e.l.GetFilterChainMatcher() == nil {
		return distinctMatches(e.l.GetFilterChains())
	}
	return nil
}

func soundChain(c *listener.FilterChain) error {
	all := c.GetFilters()
	if len(all) == 0 {
		return errors.New("no network filter is left, so connections would go nowhere")
	}
	for i, f := range all[:len(all)-1] {
		if slices.Contains(lastTCP, short(f.GetTypedConfig())) {
			return fmt.Errorf("network filter %q is behind %q, which must be the last; use INSERT_BEFORE", all[i+1].GetName(), f.GetName())
		}
	}
	return nil
}

// distinctMatches: Envoy takes no listener in which two chains match the same.
func distinctMatches(chains []*listener.FilterChain) error {
	taken := map[string]string{}
	for _, c := range chains {
		key, err := proto.MarshalOptions{Deterministic: true}.Marshal(c.GetFilterChainMatch())
		if err != nil {
			return err
		}
		if other, ok := taken[string(key)]; ok {
			return fmt.Errorf("filter chains %q and %q match the same connections", other, c.GetName())
		}
		taken[string(key)] = c.GetName()
	}
	return nil
}
