package view

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// anyAddress stands for all addresses of both families.
const anyAddress = "0.0.0.0"

func listenerName(address string, port uint32) string { return fmt.Sprintf("%s_%d", address, port) }

// place is what clients connect to. A place at anyAddress may be narrowed to
// some addresses there.
type place struct {
	address string
	port    uint32
	cidrs   []string
	sni     string // "": any
}

// piece is what one port of a service, or the HTTP services of a port, add to
// a listener.
type piece struct {
	place
	host   string // of the service; "" for HTTP
	chains []model.Chain
	detect bool // HTTP must be told from other bytes
}

// sidecarListeners derives the outbound listeners. HTTP is taken at
// 0.0.0.0_PORT; bytes at one listener for each address of the service, so that
// a TCP service can stand beside HTTP services on one port. A service without
// an address of its own shares 0.0.0.0_PORT: TLS by the server name, networks
// and the pods of headless services by the address dialled, and of the others
// the first by host takes what is left.
func sidecarListeners(in *inputs, services *memo.Cell[*model.Service], routes *sidecarHosts) *memo.Derived[memo.Table[*piece], *model.Listener] {
	pieces := memo.NewUnion(in.graph, &httpPieces(in, services).Cell, &bytesPieces(in, services, routes).Cell)
	byListener := memo.Group(in.graph, &pieces.Cell, func(key string, _ *piece) []string {
		name, _, _ := strings.Cut(key, "\x00")
		return []string{name}
	})
	return memo.Map(in.graph, &byListener.Cell, func(r *memo.Reader, name string, all memo.Table[*piece]) (*model.Listener, bool) {
		return assemble(name, values(all), func() string { cluster, _ := in.unknown(r); return cluster }), true
	}, memo.Same(sameListener))
}

// httpPieces derives one piece for every port that is declared HTTP.
func httpPieces(in *inputs, services *memo.Cell[*model.Service]) *memo.Derived[memo.Table[*model.Service], *piece] {
	byPort := memo.Group(in.graph, services, func(_ string, s *model.Service) (ports []string) {
		for _, p := range s.Ports {
			if p.Protocol.IsHTTP() && !p.Elsewhere {
				ports = append(ports, tableName(p.Number))
			}
		}
		return ports
	})
	// By an index of its own: to look through a port's services would cost each
	// edit of one of them so much as there are.
	web := memo.Group(in.graph, services, func(_ string, s *model.Service) (ports []string) {
		for _, p := range s.Ports {
			if p.Protocol == model.ProtocolGRPCWeb {
				ports = append(ports, tableName(p.Number))
			}
		}
		return ports
	})
	asked := memo.Group(in.graph, services, askedPorts)
	return memo.Flat(in.graph, &byPort.Cell, func(r *memo.Reader, table string, _ memo.Table[*model.Service], emit memo.Emit[*piece]) {
		var port uint32
		if _, err := fmt.Sscanf(table, "%d", &port); err != nil {
			return
		}
		_, grpcWeb := memo.Get(r, &web.Cell, table)
		_, asks := memo.Get(r, &asked.Cell, table)
		emit(listenerName(anyAddress, port)+"\x00", &piece{
			place: place{address: anyAddress, port: port}, chains: []model.Chain{{HTTP: &model.HTTPChain{Table: table, GRPCWeb: grpcWeb, Asked: asks}}},
		})
	}, memo.Same(samePiece))
}

// askedPorts are the HTTP ports of a service whose clients name the host.
func askedPorts(_ string, s *model.Service) (ports []string) {
	for _, p := range s.Ports {
		if s.Resolve == model.ResolveAsked && p.Protocol.IsHTTP() {
			ports = append(ports, tableName(p.Number))
		}
	}
	return ports
}

// bytesPieces derives those of ports that are not declared HTTP.
func bytesPieces(in *inputs, services *memo.Cell[*model.Service], routes *sidecarHosts) *memo.Derived[*model.Service, *piece] {
	return memo.Flat(in.graph, services, func(r *memo.Reader, host string, s *model.Service, emit memo.Emit[*piece]) {
		for _, port := range s.Ports {
			if port.Protocol.IsHTTP() || port.Protocol == model.ProtocolUDP || port.Elsewhere {
				continue
			}
			to, rules := routes.toPort(r, s, port), routes.bytesRules(r, s, port)
			for _, at := range placesOf(r, in, s, port) {
				emit(fmt.Sprintf("%s\x00%s\x00%d %v", listenerName(at.address, at.port), host, port.Number, at.cidrs), bytesPiece(at, s, port, to).routed(rules))
			}
		}
	}, memo.Same(samePiece))
}

// placesOf are where clients of a non-HTTP port connect to: of a headless
// service its pods, so that other destinations with that port are left alone.
func placesOf(r *memo.Reader, in *inputs, s *model.Service, port model.Port) (out []place) {
	if s.Headless {
		all, _ := memo.Get(r, &in.endpoints.Cell, s.Key())
		for _, ep := range all.Of(port.Number) {
			if addr, err := netip.ParseAddr(ep.Address); err == nil {
				out = append(out, place{address: anyAddress, port: ep.Port, cidrs: []string{netip.PrefixFrom(addr, addr.BitLen()).String()}})
			}
		}
		return out
	}
	sni := ""
	if port.Protocol == model.ProtocolTLS && (s.Resolve == model.ResolveAsked || len(s.Addresses)+len(s.CIDRs) == 0) {
		if sni = s.Host; strings.HasPrefix(sni, "*") && !strings.HasPrefix(sni, "*.") {
			return nil // Envoy takes no such server name
		}
	}
	for _, a := range s.Addresses {
		out = append(out, place{address: a, port: port.Number, sni: sni})
	}
	if len(s.CIDRs) > 0 {
		out = append(out, place{address: anyAddress, port: port.Number, cidrs: s.CIDRs})
	}
	if len(out) == 0 && s.Origin != "" {
		out = append(out, place{address: anyAddress, port: port.Number, sni: sni})
	}
	return out
}

// bytesPiece forwards to the service as to says; on a port without a protocol
// it tells HTTP by looking.
func bytesPiece(at place, s *model.Service, port model.Port, to *model.TCPChain) *piece {
	p := &piece{place: at, host: s.Host, detect: port.Protocol == model.ProtocolAuto}
	name := strings.Join(append(at.cidrs[:len(at.cidrs):len(at.cidrs)], nonEmpty(at.sni)...), ",")
	if p.detect {
		p.chains = append(p.chains, model.Chain{Name: suffixed(name, "http"), CIDRs: at.cidrs, OnlyHTTP: true, HTTP: &model.HTTPChain{Table: tableName(port.Number)}})
	}
	p.chains = append(p.chains, model.Chain{Name: name, CIDRs: at.cidrs, SNI: nonEmpty(at.sni), TCP: to, RawTLS: port.Protocol == model.ProtocolTLS})
	return p
}

func suffixed(name, suffix string) string {
	if name == "" {
		return ""
	}
	return name + "-" + suffix
}

// assemble makes a listener of its pieces, HTTP first, then by host. Of chains
// that would take the same connections the first stays: Envoy refuses a listener
// with two such. HTTP beside bytes for some addresses alone is what goes to
// others; beside other bytes it is told by looking. unknown is the cluster of
// what no chain takes.
func assemble(name string, pieces []*piece, unknown func() string) *model.Listener {
	l := &model.Listener{Name: name, Address: pieces[0].address, Port: pieces[0].port, Capture: true}
	shared := len(pieces) > 1 || len(pieces[0].cidrs) > 0 || pieces[0].sni != ""
	taken := map[string]bool{}
	tell := slices.ContainsFunc(pieces, (*piece).anywhere)
	for _, p := range pieces {
		l.Detect = l.Detect || p.detect || tell && p.host == ""
		for _, c := range p.chains {
			l.ServerFirst = l.ServerFirst || c.TCP != nil && !c.RawTLS
			if shared && p.host == "" {
				c.Name, c.OnlyHTTP = "http", tell
			}
			if shared && c.RawTLS && len(c.CIDRs)+len(c.SNI) == 0 && !strings.HasPrefix(p.host, "*") {
				c.Name, c.SNI = p.host, []string{p.host} // several hosts with one address
			}
			if key := matchKey(&c); !taken[key] {
				taken[key] = true
				l.Chains = append(l.Chains, c)
			}
		}
	}
	l.ServerFirst = l.ServerFirst && l.Detect
	if !taken[""] && l.Address == anyAddress {
		l.Chains = append(l.Chains, model.Chain{Name: "unknown", TCP: &model.TCPChain{Clusters: []model.WeightedCluster{{Name: unknown(), Weight: 1}}}})
	}
	return l
}

// anywhere reports whether some of a service's chains takes connections to any
// address.
func (p *piece) anywhere() bool {
	return p.host != "" && slices.ContainsFunc(p.chains, func(c model.Chain) bool { return len(c.CIDRs) == 0 })
}

// matchKey says which connections a chain takes; "" is what no other does.
func matchKey(c *model.Chain) string {
	if !c.OnlyHTTP && len(c.CIDRs)+len(c.SNI)+len(c.Sources) == 0 {
		return ""
	}
	return fmt.Sprint(c.OnlyHTTP, slices.Sorted(slices.Values(c.CIDRs)), slices.Sorted(slices.Values(c.SNI)), c.Sources)
}
