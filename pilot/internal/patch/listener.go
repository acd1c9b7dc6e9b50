package patch

import (
	"fmt"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/model"
)

// listenerEditor edits a listener. Its connection managers are unpacked when a
// patch first wants one, and packed at the end.
type listenerEditor struct {
	t        Target
	l        *listener.Listener
	gone     bool
	managers map[*listener.Filter]*hcm.HttpConnectionManager
}

func newListenerEditor(t Target, l *listener.Listener) *listenerEditor {
	return &listenerEditor{t: t, l: l, managers: map[*listener.Filter]*hcm.HttpConnectionManager{}}
}

func (e *listenerEditor) removed() bool { return e.gone }

func (e *listenerEditor) edit(p *patch) (bool, error) {
	switch p.To {
	case model.ToListener:
		return e.listener(p)
	case model.ToListenerFilter:
		return e.listenerFilters(p)
	case model.ToFilterChain:
		return e.chain(p)
	default: // it is in the chains
	}
	hit := false
	for _, c := range e.chains() {
		if !p.picksChain(e.t, e.l, c) {
			continue
		}
		done, err := e.inChain(p, c)
		if err != nil {
			return false, err
		}
		hit = hit || done
	}
	return hit, nil
}

// chains are all of them, with the default one.
func (e *listenerEditor) chains() []*listener.FilterChain {
	out := append([]*listener.FilterChain(nil), e.l.GetFilterChains()...)
	if d := e.l.GetDefaultFilterChain(); d != nil {
		out = append(out, d)
	}
	return out
}

func (e *listenerEditor) listener(p *patch) (bool, error) {
	if p.Op == model.OpRemove {
		e.gone = true
		return true, nil
	}
	name := e.l.GetName()
	err := merge(e.l, p.body, p.lists())
	e.l.Name = name // it is a resource of that name
	return true, err
}

func (e *listenerEditor) listenerFilters(p *patch) (hit bool, err error) {
	picked := p.listenerFilter()
	e.l.ListenerFilters, hit, err = items[*listener.ListenerFilter]{
		all: e.l.GetListenerFilters(), picked: picked != "",
		named: func(f *listener.ListenerFilter) bool { return picked == "" || f.GetName() == picked },
		merge: func(f *listener.ListenerFilter) (bool, error) { return mergeTyped(f, p.body, p.lists(), picked == "") },
	}.edit(p)
	return hit, err
}

func (e *listenerEditor) chain(p *patch) (hit bool, err error) {
	if p.Op == model.OpAdd {
		if e.l.GetFilterChainMatcher() != nil {
			return false, fmt.Errorf("listener %s chooses its chains by a matcher, which leads to none but its own, so no connection would reach an added one; MERGE into one of them, or ADD a LISTENER", e.l.GetName())
		}
		e.l.FilterChains = append(e.l.FilterChains, proto.Clone(p.body).(*listener.FilterChain))
		return true, nil
	}
	var left []*listener.FilterChain
	for _, c := range e.l.GetFilterChains() {
		if !p.picksChain(e.t, e.l, c) {
			left = append(left, c)
			continue
		}
		hit = true
		if p.Op == model.OpRemove {
			continue
		}
		if err := e.mergeChain(c, p); err != nil {
			return false, err
		}
		left = append(left, c)
	}
	e.l.FilterChains = left
	if d := e.l.GetDefaultFilterChain(); d != nil && p.picksChain(e.t, e.l, d) {
		hit = true
		if p.Op == model.OpRemove {
			e.l.DefaultFilterChain = nil
		} else if err := e.mergeChain(d, p); err != nil {
			return false, err
		}
	}
	return hit, nil
}

func (e *listenerEditor) mergeChain(c *listener.FilterChain, p *patch) error {
	name, body := c.GetName(), proto.Clone(p.body).(*listener.FilterChain)
	if have, want := c.GetTransportSocket(), body.GetTransportSocket(); have != nil && want != nil {
		body.TransportSocket = nil
		if have.GetName() != want.GetName() {
			c.TransportSocket = want
		} else if err := mergeSocket(have, want, p.lists()); err != nil {
			return err
		}
	}
	err := merge(c, body, p.lists())
	if len(e.t.Chains) > 0 {
		c.Name = name // the listener's matcher knows it by its name
	}
	return err
}

// inChain edits the filters of a chain, and what is in them.
func (e *listenerEditor) inChain(p *patch, c *listener.FilterChain) (hit bool, err error) {
	if p.To == model.ToNetworkFilter {
		c.Filters, hit, err = e.networkFilters(p, c)
		return hit, err
	}
	for _, f := range c.GetFilters() {
		m := e.manager(f)
		if m == nil || p.networkFilter() != "" && p.networkFilter() != f.GetName() {
			continue
		}
		var done bool
		if p.To == model.ToHTTPFilter {
			done, err = httpFilters(p, m)
		} else {
			done, err = e.routes(p, m)
		}
		if err != nil {
			return false, err
		}
		hit = hit || done
	}
	return hit, nil
}

func (e *listenerEditor) networkFilters(p *patch, c *listener.FilterChain) ([]*listener.Filter, bool, error) {
	picked := p.networkFilter()
	return items[*listener.Filter]{
		all: c.GetFilters(), picked: picked != "",
		named: func(f *listener.Filter) bool { return picked == "" || f.GetName() == picked },
		merge: func(f *listener.Filter) (bool, error) {
			if err := e.pack(f); err != nil {
				return false, err
			}
			return mergeTyped(f, p.body, p.lists(), picked == "")
		},
	}.edit(p)
}

// routes edits the route table that is in a connection manager. One that is a
// resource of its own is edited there.
func (e *listenerEditor) routes(p *patch, m *hcm.HttpConnectionManager) (bool, error) {
	inline := m.GetRouteConfig()
	if inline == nil || !p.picksTable(inline.GetName(), e.t.Role) {
		return false, nil
	}
	return (&tableEditor{t: e.t, table: inline}).edit(p)
}

// manager unpacks a filter; nil if it is no connection manager.
func (e *listenerEditor) manager(f *listener.Filter) *hcm.HttpConnectionManager {
	if m, ok := e.managers[f]; ok {
		return m
	}
	m := &hcm.HttpConnectionManager{}
	if f.GetTypedConfig() == nil || !f.GetTypedConfig().MessageIs(m) || f.GetTypedConfig().UnmarshalTo(m) != nil {
		return nil
	}
	e.managers[f] = m
	return m
}

// pack puts a connection manager back into its filter.
func (e *listenerEditor) pack(f *listener.Filter) error {
	m, ok := e.managers[f]
	if !ok {
		return nil
	}
	delete(e.managers, f)
	packed, err := pack(m)
	f.ConfigType = &listener.Filter_TypedConfig{TypedConfig: packed}
	return err
}

func (e *listenerEditor) close() (proto.Message, error) {
	for _, c := range e.chains() {
		for _, f := range c.GetFilters() {
			if m := e.managers[f]; m != nil {
				if err := soundManager(m); err != nil {
					return nil, err
				}
			}
			if err := e.pack(f); err != nil {
				return nil, err
			}
		}
	}
	if err := e.sound(); err != nil {
		return nil, err
	}
	return e.l, e.l.Validate()
}
