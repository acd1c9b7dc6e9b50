package view

import (
	"strings"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// AUTO_PASSTHROUGH passes mesh mTLS on to the service that its server name
// stands for. What may be asked for is a list: of the services that the
// gateway's namespace sees, those that a server's hosts cover, by the names that
// sidecars send. Any other name is refused, so that no one reaches a cluster of
// the gateway by writing its name into the server name; and only endpoints that
// demand a certificate of the mesh are behind them, since the gateway sees none
// (Istio, ServerTLSSettings.TLSmode AUTO_PASSTHROUGH).

// autoServers are the servers in that mode, under the key autoKey.
func autoServers(g *memo.Graph, servers *memo.Cell[*served]) *memo.Grouped[*served] {
	return memo.Group(g, servers, func(_ string, s *served) []string {
		if !s.auto() {
			return nil
		}
		return []string{autoKey}
	})
}

const autoKey = "auto"

// auto reports whether the server passes mesh mTLS on.
func (s *served) auto() bool { return s.TLS != nil && s.TLS.Mode == model.ServerAutoPassthrough }

// takes reports whether one of the server's hosts covers the service.
func (s *served) takes(of *model.Service) bool {
	for _, h := range s.Hosts {
		if (h.Namespace == "*" || h.Namespace == of.Namespace) && covers(h.Host, of.Host) {
			return true
		}
	}
	return false
}

// passedClusters derives the clusters that AUTO_PASSTHROUGH servers lead to, by
// the server name that asks for them.
func (m *clusterMaker) passedClusters(servers *memo.Grouped[*served]) *memo.Derived[*model.Service, *model.Cluster] {
	return memo.Flat(m.in.graph, m.services, func(r *memo.Reader, host string, s *model.Service, emit memo.Emit[*model.Cluster]) {
		all, ok := memo.Get(r, &servers.Cell, autoKey)
		if !ok || s.Resolve != model.ResolveEndpoints {
			return
		}
		for _, server := range all.All() {
			if server.takes(s) {
				m.passed(r, s, emit)
				return
			}
		}
	}, memo.Same(sameCluster))
}

func (m *clusterMaker) passed(r *memo.Reader, s *model.Service, emit memo.Emit[*model.Cluster]) {
	subsets := []string{""}
	if e, ok := memo.Get(r, &m.effective.Cell, s.Host); ok {
		for _, sub := range e.subsets {
			subsets = append(subsets, sub.Name)
		}
	}
	for _, port := range s.Ports {
		for _, subset := range subsets {
			if port.Protocol == model.ProtocolUDP {
				continue
			}
			if c := m.of(r, s, port, subset); c != nil {
				c.Name, c.SNI = passedName(port.Number, subset, s.Host), ""
				c.Plain, c.MeshOnly, c.Traffic.TLS = true, true, nil
				emit(c.Name, c)
			}
		}
	}
}

// passedName is the server name of mesh mTLS as a proxy reads it: Envoy gives
// it in lower case.
func passedName(port uint32, subset, host string) string {
	return strings.ToLower(serverName(port, subset, host))
}

// passedNames are the server names that a server passes on, sorted.
func passedNames(r *memo.Reader, clusters *memo.Cell[*model.Cluster], s *served) (names []string) {
	for name, c := range memo.All(r, clusters).All() {
		if s.takes(c.Service) {
			names = append(names, name)
		}
	}
	return names
}

// meshOnly are the endpoints that demand a certificate of the mesh.
func meshOnly(all []*model.Endpoint) (out []*model.Endpoint) {
	for _, ep := range all {
		if ep.MTLS {
			out = append(out, ep)
		}
	}
	return out
}
