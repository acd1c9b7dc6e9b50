package view

import (
	"fmt"
	"time"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// anyAddress stands for all addresses of both families.
const anyAddress = "0.0.0.0"

func listenerName(address string, port uint32) string { return fmt.Sprintf("%s_%d", address, port) }

// sidecarListeners derives the outbound listeners: 0.0.0.0_PORT for HTTP, and
// for other ports one for each address of the service, so that a TCP service
// can stand beside HTTP services on one port. Where two services have one
// address, the first by host has the listener.
func sidecarListeners(in *inputs, services *memo.Cell[*model.Service], rules *memo.Derived[*model.Service, *effective]) *memo.Derived[*model.Service, *model.Listener] {
	return memo.Flat(in.graph, services, func(r *memo.Reader, host string, s *model.Service, emit memo.Emit[*model.Listener]) {
		for _, port := range s.Ports {
			if port.Protocol.IsHTTP() || port.Protocol == model.ProtocolUDP {
				continue
			}
			for _, at := range addressesOf(r, in, s, port) {
				l := bytesListener(at, host, port)
				l.Chains[len(l.Chains)-1].TCP.IdleTimeout = idleTimeout(r, rules, host, port.Number)
				emit(l.Name, l)
			}
		}
	}, memo.Same(sameListener))
}

// idleTimeout is the DestinationRule's connectionPool.tcp.idleTimeout.
func idleTimeout(r *memo.Reader, rules *memo.Derived[*model.Service, *effective], host string, port uint32) time.Duration {
	e, _ := memo.Get(r, &rules.Cell, host)
	if pool := e.forPort(port, nil).Pool; pool != nil {
		return pool.TCPIdleTimeout
	}
	return 0
}

// place is what clients connect to.
type place struct {
	address string
	port    uint32
}

// addressesOf are where clients of a non-HTTP port connect to: of a headless
// service its pods, so that other destinations with that port are left alone.
func addressesOf(r *memo.Reader, in *inputs, s *model.Service, port model.Port) (out []place) {
	if !s.Headless {
		for _, a := range s.Addresses {
			out = append(out, place{a, port.Number})
		}
		return out
	}
	all, _ := memo.Get(r, &in.endpoints.Cell, s.Host)
	for _, ep := range all.Of(port.Number) {
		out = append(out, place{ep.Address, ep.Port})
	}
	return out
}

// bytesListener forwards to the service; on a port without a protocol it
// tells HTTP by looking.
func bytesListener(at place, host string, port model.Port) *model.Listener {
	cluster := clusterName(port.Number, "", host)
	l := &model.Listener{Name: listenerName(at.address, at.port), Address: at.address, Port: at.port, Capture: true}
	if port.Protocol == model.ProtocolAuto {
		l.Detect = true
		l.Chains = append(l.Chains, model.Chain{OnlyHTTP: true, HTTP: &model.HTTPChain{Table: tableName(port.Number)}})
	}
	tcp := &model.TCPChain{Clusters: []model.WeightedCluster{{Name: cluster, Weight: 1}}}
	l.Chains = append(l.Chains, model.Chain{TCP: tcp, RawTLS: port.Protocol == model.ProtocolTLS})
	return l
}

// httpListeners derives 0.0.0.0_PORT for every port that is declared HTTP.
func httpListeners(in *inputs, services *memo.Cell[*model.Service]) *memo.Derived[memo.Table[*model.Service], *model.Listener] {
	byPort := memo.Group(in.graph, services, func(_ string, s *model.Service) (ports []string) {
		for _, p := range s.Ports {
			if p.Protocol.IsHTTP() {
				ports = append(ports, listenerName(anyAddress, p.Number))
			}
		}
		return ports
	})
	return memo.Map(in.graph, &byPort.Cell, func(_ *memo.Reader, name string, of memo.Table[*model.Service]) (*model.Listener, bool) {
		var port uint32
		if _, err := fmt.Sscanf(name, anyAddress+"_%d", &port); err != nil {
			return nil, false
		}
		chain := model.Chain{HTTP: &model.HTTPChain{Table: tableName(port)}}
		return &model.Listener{Name: name, Address: anyAddress, Port: port, Capture: true, Chains: []model.Chain{chain}}, true
	}, memo.Same(sameListener))
}
