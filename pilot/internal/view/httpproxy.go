package view

import (
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// proxyTable is the route table of apps that use their sidecar as an HTTP
// proxy: it has the services of all ports. The name is Istio's.
const proxyTable = "http_proxy"

// proxyListener derives the listener of MeshConfig's proxyHttpPort. The app
// calls it by itself: nothing is captured, and nobody else reaches loopback.
func proxyListener(in *inputs, services *memo.Cell[*model.Service]) *memo.Cell[*model.Listener] {
	const one = ""
	asked := memo.Group(in.graph, services, func(key string, s *model.Service) []string {
		if len(askedPorts(key, s)) == 0 {
			return nil
		}
		return []string{one}
	})
	d := memo.Flat(in.graph, &in.settings.Cell, func(r *memo.Reader, _ string, s *model.Settings, emit memo.Emit[*model.Listener]) {
		if s.HTTPProxyPort == 0 {
			return
		}
		_, asks := memo.Get(r, &asked.Cell, one)
		const address = "127.0.0.1"
		l := &model.Listener{Name: listenerName(address, s.HTTPProxyPort), Address: address, Port: s.HTTPProxyPort}
		l.Chains = []model.Chain{{HTTP: &model.HTTPChain{Table: proxyTable, Asked: asks}}}
		emit(l.Name, l)
	}, memo.Same(sameListener))
	return &d.Cell
}

// proxyRoutes derives its route table. Unknown hosts pass where their way is
// known without the address that the client dialled, which is the proxy's.
func proxyRoutes(in *inputs) *memo.Cell[*model.RouteTable] {
	d := memo.Flat(in.graph, &in.settings.Cell, func(r *memo.Reader, _ string, s *model.Settings, emit memo.Emit[*model.RouteTable]) {
		if s.HTTPProxyPort == 0 {
			return
		}
		t := &model.RouteTable{Name: proxyTable, Ports: true}
		if t.Proxy, t.Fallback = in.unknownHost(r); t.Proxy == passthroughCluster {
			t.Proxy, t.Fallback = blackHoleCluster, model.FallbackBlackHole
		}
		emit(t.Name, t)
	}, memo.Same(sameTable))
	return &d.Cell
}

// emitProxied emits vh once more, for clients of the HTTP proxy, which name
// the port; that of HTTP they may leave out.
func (h *sidecarHosts) emitProxied(r *memo.Reader, vh *model.VirtualHost, port uint32, emit memo.Emit[*model.VirtualHost]) {
	if !h.proxied || h.in.config(r).HTTPProxyPort == 0 || vh.Name == fallbackName {
		return
	}
	next := *vh
	next.Table, next.Domains = proxyTable, nil
	for _, d := range vh.Domains {
		next.Domains = append(next.Domains, hostName(d, port))
		if port == 80 {
			next.Domains = append(next.Domains, d)
		}
	}
	emit(next.Table+"/"+next.Name, &next)
}
