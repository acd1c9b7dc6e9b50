package patch

import (
	"errors"
	"slices"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/model"
)

// tableEditor edits a route table; its virtual hosts are resources of their
// own, unless they are in it.
type tableEditor struct {
	t     Target
	table *route.RouteConfiguration
}

func (e *tableEditor) removed() bool { return false }

func (e *tableEditor) edit(p *patch) (bool, error) {
	if p.To != model.ToRouteTable {
		return e.hosts(p)
	}
	if !p.merges() {
		return false, nil // it can be neither made nor removed
	}
	name := e.table.GetName()
	err := merge(e.table, p.body, p.lists())
	e.table.Name = name // the listener knows it by its name
	return true, err
}

// hosts edits the virtual hosts that are in the table.
func (e *tableEditor) hosts(p *patch) (hit bool, err error) {
	if p.To == model.ToVirtualHost && p.Op == model.OpAdd {
		e.table.VirtualHosts = append(e.table.VirtualHosts, proto.Clone(p.body).(*route.VirtualHost))
		return true, nil
	}
	var left []*route.VirtualHost
	for _, vh := range e.table.GetVirtualHosts() {
		one := &hostEditor{t: Target{Table: e.table.GetName(), Role: e.t.Role}, host: vh}
		done := false
		if p.picksHost(e.table.GetName(), vh) {
			if done, err = one.edit(p); err != nil {
				return false, err
			}
		}
		hit = hit || done
		if !one.gone {
			left = append(left, one.host)
		}
	}
	e.table.VirtualHosts = left
	return hit, nil
}

func (e *tableEditor) close() (proto.Message, error) {
	if err := distinctDomains(e.table.GetVirtualHosts()); err != nil {
		return nil, err
	}
	return e.table, e.table.Validate()
}

// distinctDomains: Envoy takes no table in which two hosts have one domain.
func distinctDomains(hosts []*route.VirtualHost) error {
	taken := map[string]bool{}
	for _, vh := range hosts {
		for _, d := range vh.GetDomains() {
			if taken[d] {
				return errors.New("domain " + d + " is that of two virtual hosts")
			}
			taken[d] = true
		}
	}
	return nil
}

// hostEditor edits a virtual host.
type hostEditor struct {
	t    Target
	host *route.VirtualHost
	gone bool
}

func (e *hostEditor) removed() bool { return e.gone }

func (e *hostEditor) close() (proto.Message, error) { return e.host, e.host.Validate() }

func (e *hostEditor) edit(p *patch) (hit bool, err error) {
	if p.To == model.ToRoute {
		e.host.Routes, hit, err = e.routes(p)
		return hit, err
	}
	name := e.host.GetName()
	switch p.Op {
	case model.OpRemove:
		e.gone = true
		return true, nil
	case model.OpReplace:
		e.host = proto.Clone(p.body).(*route.VirtualHost)
	default:
		err = merge(e.host, p.body, p.lists())
	}
	e.host.Name = name // it is a resource of that name
	return true, err
}

func (e *hostEditor) routes(p *patch) ([]*route.Route, bool, error) {
	l := items[*route.Route]{
		all: e.host.GetRoutes(), picked: p.route() != nil, named: p.picksRoute,
		merge: func(r *route.Route) (bool, error) { return true, merge(r, p.body, p.lists()) },
	}
	switch {
	case p.Op == model.OpInsertFirst && l.picked && l.first() < 0:
		return l.all, false, nil
	case p.Op == model.OpRemove:
		return l.without(), slices.ContainsFunc(l.all, l.named), nil
	}
	return l.edit(p)
}
