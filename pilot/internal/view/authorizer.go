package view

import (
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// authorizers are those that the policies of a class ask, with clusters of their
// own: no route leads to them, they may be where the proxy sees nothing else,
// and the two sides of a sidecar must not differ on one cluster.
type authorizers struct {
	asked    *memo.Derived[string, *model.AskedAuthorizer]
	clusters *memo.Derived[string, *model.Cluster]
	maker    *clusterMaker
}

// authorizerCluster is outbound|PORT|SUBSET|HOST for an authorizer's name.
func authorizerCluster(a *model.Authorizer) string {
	return "authz" + clusterName(a.Port, a.Name, a.Host)[len("outbound"):]
}

func newAuthorizers(in *inputs, class model.ProxyClass, rights *memo.Cell[*model.Authorization]) *authorizers {
	named := memo.Flat(in.graph, rights, func(_ *memo.Reader, _ string, p *model.Authorization, emit memo.Emit[string]) {
		if p.Action == model.AuthCustom && !p.DryRun {
			emit(p.Provider, p.Provider)
		}
	})
	services := memo.Flat(in.graph, &named.Cell, func(r *memo.Reader, name, _ string, emit memo.Emit[*model.Service]) {
		if s, _, ok := in.authorizerAt(r, in.config(r).Authorizer(name)); ok {
			emit(s.Key(), s)
		}
	})
	a := &authorizers{maker: newClusterMaker(in, class, &services.Cell, policies(in, &services.Cell, in.heeds))}
	a.maker.undialled = true
	a.clusters = memo.Flat(in.graph, &named.Cell, func(r *memo.Reader, name, _ string, emit memo.Emit[*model.Cluster]) {
		of := in.config(r).Authorizer(name)
		if s, port, ok := in.authorizerAt(r, of); ok {
			c := a.maker.forAuthorizer(r, s, port, of)
			emit(c.Name, c)
		}
	}, memo.Same(sameCluster))
	a.asked = memo.Map(in.graph, &named.Cell, func(r *memo.Reader, name, _ string) (*model.AskedAuthorizer, bool) {
		of := in.config(r).Authorizer(name)
		_, _, ok := in.authorizerAt(r, of)
		if !ok {
			return nil, false
		}
		return &model.AskedAuthorizer{Authorizer: of, Cluster: authorizerCluster(of)}, true
	}, memo.Same(func(a, b *model.AskedAuthorizer) bool { return *a == *b }))
	return a
}

// authorizerAt finds where proxies call an authorizer; false: nowhere.
func (in *inputs) authorizerAt(r *memo.Reader, a *model.Authorizer) (*model.Service, model.Port, bool) {
	if a == nil {
		return nil, model.Port{}, false
	}
	s := a.Find(func(key string) (*model.Service, bool) { return memo.Get(r, &in.services.Cell, key) })
	if s == nil {
		return nil, model.Port{}, false
	}
	port, ok := a.Reaches(s)
	return s, port, ok
}

// forAuthorizer makes the cluster by which an authorizer is asked. What it
// speaks is known: HTTP/2 for gRPC, else HTTP/1.1.
func (m *clusterMaker) forAuthorizer(r *memo.Reader, s *model.Service, port model.Port, a *model.Authorizer) *model.Cluster {
	switch {
	case a.GRPC && !port.Protocol.IsHTTP2():
		port.Protocol = model.ProtocolGRPC
	case !a.GRPC && !port.Protocol.IsHTTP():
		port.Protocol = model.ProtocolHTTP
	}
	c := m.of(r, s, port, "")
	c.Name = authorizerCluster(a)
	if lb := c.Traffic.LB; lb != nil && lb.Algorithm == model.LBPassthrough {
		c.Traffic.LB = nil // else it would be the app itself that is asked
	}
	return c
}
