package view

import (
	"cmp"

	"github.com/weftmesh/weft/internal/clustername"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// wanted is a service that proxies of a class call of their own, and the name
// of the cluster for it.
type wanted struct {
	cluster string
	model.Callee
	grpc    bool // else HTTP/1.1
	bounded bool // see bounded
}

// maxTold is how many requests, and how many that wait, a collector over gRPC may
// owe an answer where no DestinationRule says another number.
const maxTold = 32

// bounded is a pool with limits: Envoy gives what it sends over gRPC to a collector
// no time-out, so that one that never answers would hold ever more of its memory.
// What is over the limits is lost. Envoy's access log service needs none: it has one
// stream for each thread, and what would wait in its buffer of 16 KiB is lost.
func bounded(p *model.ConnectionPool) *model.ConnectionPool {
	out := model.ConnectionPool{}
	if p != nil {
		out = *p
	}
	out.MaxRequests, out.MaxPendingRequests = cmp.Or(out.MaxRequests, maxTold), cmp.Or(out.MaxPendingRequests, maxTold)
	return &out
}

// callees are clusters for what is wanted: no route leads to them, they may be
// where the proxy sees nothing else, and no other class of the proxy may have one
// of the name: Envoy refuses an answer that has a name twice.
type callees struct {
	clusters    *memo.Derived[wanted, *model.Cluster]
	assignments *memo.Derived[*model.Cluster, *model.Assignment]
}

// ownCluster is KIND|PORT|NAME|HOST, as other clusters are outbound|PORT|SUBSET|HOST.
func ownCluster(kind, name string, c model.Callee) string {
	return kind + clustername.Of(c.Port, name, c.Host)[len("outbound"):]
}

func newCallees(in *inputs, class model.ProxyClass, all *memo.Cell[wanted]) *callees {
	services := memo.Flat(in.graph, all, func(r *memo.Reader, _ string, w wanted, emit memo.Emit[*model.Service]) {
		if s, _, ok := in.calleeAt(r, w.Callee); ok {
			emit(s.Key(), s)
		}
	})
	maker := newClusterMaker(in, class, &services.Cell, policies(in, &services.Cell, in.heeds))
	maker.undialled = true
	c := &callees{clusters: memo.Map(in.graph, all, func(r *memo.Reader, _ string, w wanted) (*model.Cluster, bool) {
		s, port, ok := in.calleeAt(r, w.Callee)
		if !ok {
			return nil, false
		}
		return maker.forCallee(r, s, port, w), true
	}, memo.Same(sameCluster))}
	c.assignments = assignments(in, &c.clusters.Cell, maker)
	return c
}

// callable reports whether proxies can call a service of their own.
func (in *inputs) callable(r *memo.Reader, c model.Callee) bool {
	_, _, ok := in.calleeAt(r, c)
	return ok
}

// calleeAt finds where proxies call a service of their own; false: nowhere.
func (in *inputs) calleeAt(r *memo.Reader, c model.Callee) (*model.Service, model.Port, bool) {
	s := c.Find(func(key string) (*model.Service, bool) { return memo.Get(r, &in.services.Cell, key) })
	if s == nil {
		return nil, model.Port{}, false
	}
	port, ok := c.Reaches(s)
	return s, port, ok
}

// forCallee makes the cluster by which a service is called. What it speaks is
// known: HTTP/2 for gRPC, else HTTP/1.1.
func (m *clusterMaker) forCallee(r *memo.Reader, s *model.Service, port model.Port, w wanted) *model.Cluster {
	switch {
	case w.grpc && !port.Protocol.IsHTTP2():
		port.Protocol = model.ProtocolGRPC
	case !w.grpc && !port.Protocol.IsHTTP():
		port.Protocol = model.ProtocolHTTP
	}
	c := m.of(r, s, port, "")
	c.Name = w.cluster
	if w.bounded {
		c.Traffic.Pool = bounded(c.Traffic.Pool)
	}
	if lb := c.Traffic.LB; lb != nil && lb.Algorithm == model.LBPassthrough {
		c.Traffic.LB = nil // else it would be the app itself that is asked
	}
	return c
}

// authorizers are those that the policies of a class ask.
type authorizers struct {
	asked  *memo.Derived[string, *model.AskedAuthorizer]
	wanted *memo.Derived[*model.AskedAuthorizer, wanted]
}

func newAuthorizers(in *inputs, rights *memo.Cell[*model.Authorization]) *authorizers {
	named := memo.Flat(in.graph, rights, func(_ *memo.Reader, _ string, p *model.Authorization, emit memo.Emit[string]) {
		if p.Action == model.AuthCustom && !p.DryRun {
			emit(p.Provider, p.Provider)
		}
	})
	a := &authorizers{asked: memo.Map(in.graph, &named.Cell, func(r *memo.Reader, name, _ string) (*model.AskedAuthorizer, bool) {
		of := in.config(r).Authorizer(name)
		if of == nil {
			return nil, false
		}
		_, _, ok := in.calleeAt(r, of.Callee)
		return &model.AskedAuthorizer{Authorizer: of, Cluster: ownCluster("authz", of.Name, of.Callee)}, ok
	}, memo.Same(func(a, b *model.AskedAuthorizer) bool { return *a == *b }))}
	a.wanted = memo.Flat(in.graph, &a.asked.Cell, func(_ *memo.Reader, _ string, of *model.AskedAuthorizer, emit memo.Emit[wanted]) {
		emit(of.Cluster, wanted{cluster: of.Cluster, Callee: of.Callee, grpc: of.GRPC})
	})
	return a
}

// collectors are where the proxies of a class send spans and records of logs.
func collectors(in *inputs, reporting *memo.Cell[*model.Reporting]) *memo.Derived[*model.Reporting, wanted] {
	return memo.Flat(in.graph, reporting, func(_ *memo.Reader, _ string, all *model.Reporting, emit memo.Emit[wanted]) {
		if t := all.Tracing; t != nil {
			grpc := t.Tracer.Protocol.GRPC()
			emit(t.Cluster, wanted{cluster: t.Cluster, Callee: t.Tracer.Callee, grpc: grpc, bounded: grpc})
		}
		for _, l := range all.Logs {
			if c := l.Provider.Collector; c != nil && !l.OfBootstrap {
				emit(l.Cluster, wanted{cluster: l.Cluster, Callee: c.Callee, grpc: true, bounded: c.Protocol == model.OTLPLogs})
			}
		}
	})
}
