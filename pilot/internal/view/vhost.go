package view

import (
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// Clusters that every sidecar has.
const (
	passthroughCluster = "PassthroughCluster"
	blackHoleCluster   = "BlackHoleCluster"
)

// sidecarHosts derives the virtual hosts of a sidecar's route tables.
type sidecarHosts struct {
	in       *inputs
	services *memo.Cell[*model.Service]
	binder   *binder
	// proxied: the table of proxyHttpPort has them too.
	proxied bool
	// routing are the VirtualServices that hold for sidecars here, and byHost
	// the same by host.
	routing *memo.Cell[*model.VirtualService]
	byHost  *memo.Grouped[*model.VirtualService]
	owners  *memo.Derived[*model.Service, string]
	// covered are the wildcards that some visible service's host lies within.
	covered *memo.Derived[memo.Table[*model.Service], string]
}

func newSidecarHosts(in *inputs, services *memo.Cell[*model.Service], routing *memo.Cell[*model.VirtualService], b *binder) *sidecarHosts {
	h := &sidecarHosts{in: in, services: services, routing: routing, binder: b}
	h.byHost = memo.Group(in.graph, routing, func(_ string, vs *model.VirtualService) []string { return hostKeys(vs.Hosts) })
	h.owners = memo.Flat(in.graph, services, func(_ *memo.Reader, host string, s *model.Service, emit memo.Emit[string]) {
		for _, a := range s.Addresses {
			emit(a, host)
		}
	})
	byDomain := memo.Group(in.graph, services, func(host string, _ *model.Service) []string {
		_, domain, _ := strings.Cut(host, ".")
		return []string{domain}
	})
	h.covered = memo.Flat(in.graph, &byDomain.Cell, func(_ *memo.Reader, domain string, _ memo.Table[*model.Service], emit memo.Emit[string]) {
		emit("*", "")
		for more := true; more; _, domain, more = strings.Cut(domain, ".") {
			emit("*."+domain, "")
		}
	})
	return h
}

// ofServices derives the virtual hosts of services, by "TABLE/NAME".
func (h *sidecarHosts) ofServices() *memo.Derived[*model.Service, *model.VirtualHost] {
	return memo.Flat(h.in.graph, h.services, func(r *memo.Reader, host string, s *model.Service, emit memo.Emit[*model.VirtualHost]) {
		if s.Origin != "" && h.shortName(r, host) {
			return // a Service has that name: Envoy refuses a table where a domain is twice
		}
		domains := h.serviceDomains(r, s)
		own := slices.Concat(domains, h.ownAddresses(r, s))
		for _, port := range s.Ports {
			if !routed(port) {
				continue
			}
			vh := &model.VirtualHost{Table: tableName(port.Number), Name: hostName(host, port.Number), Domains: own, Routes: h.routesOf(r, s, port)}
			emit(vh.Table+"/"+vh.Name, vh)
			h.emitProxied(r, vh, port.Number, emit)
			if _, declared := memo.Get(r, h.services, "*."+host); byPodName(s, port) && !declared {
				pods := podNamesHost(vh, s, domains)
				emit(pods.Table+"/"+pods.Name, pods)
				h.emitProxied(r, pods, port.Number, emit)
			}
		}
	}, memo.Same(sameHost))
}

// routed reports whether a port has a route table.
func routed(p model.Port) bool { return p.Protocol.IsHTTP() || p.Protocol == model.ProtocolAuto }

func tableName(port uint32) string { return strconv.FormatUint(uint64(port), 10) }

func hostName(host string, port uint32) string { return host + ":" + tableName(port) }

// serviceDomains are the names that the client may use, without port: the
// table ignores it.
func (h *sidecarHosts) serviceDomains(r *memo.Reader, s *model.Service) []string {
	domains := h.spellings(r, s)
	for _, name := range s.Aliases {
		if alias, ok := memo.Get(r, h.services, name); ok && alias.AliasOf == s.Host {
			domains = append(domains, h.spellings(r, alias)...)
		}
	}
	return domains
}

// spellings are a service's host and, of one of Kubernetes, its shorter forms.
func (h *sidecarHosts) spellings(r *memo.Reader, s *model.Service) []string {
	domains := []string{s.Host}
	short, ok := strings.CutSuffix(s.Host, "."+s.Namespace+".svc."+h.in.config(r).ClusterDomain)
	if !ok || s.Name != short {
		return domains
	}
	if h.in.home(r, s.Namespace) {
		domains = append(domains, s.Name)
	}
	return append(domains, s.Name+"."+s.Namespace, s.Name+"."+s.Namespace+".svc")
}

// ownAddresses are the service's addresses as a Host header has them. Of two
// services with one address the first by host has it: Envoy refuses a table
// where a domain is twice.
func (h *sidecarHosts) ownAddresses(r *memo.Reader, s *model.Service) (out []string) {
	for _, a := range s.Addresses {
		if owner, _ := memo.Get(r, &h.owners.Cell, a); owner != s.Host {
			continue
		}
		if strings.Contains(a, ":") {
			a = "[" + a + "]"
		}
		out = append(out, a)
	}
	return out
}

func podNamesHost(of *model.VirtualHost, s *model.Service, domains []string) *model.VirtualHost {
	vh := &model.VirtualHost{Table: of.Table, Name: "*." + of.Name}
	for _, d := range domains {
		vh.Domains = append(vh.Domains, "*."+d)
	}
	port, _ := strconv.ParseUint(of.Table, 10, 32)
	vh.Routes = []*model.Route{forwardTo(model.Destination{Host: s.Host, Port: uint32(port), Weight: 1, Cluster: podNamesCluster(uint32(port), s.Host)}, nil)}
	return vh
}

// routesOf are the routes of the VirtualService that wins host and port, else
// the one route to the service.
func (h *sidecarHosts) routesOf(r *memo.Reader, s *model.Service, port model.Port) []*model.Route {
	if vs := h.winner(r, s.Host, port.Number); vs != nil {
		if routes := h.routes(r, vs, port.Number); len(routes) > 0 {
			return routes
		}
	}
	d := model.Destination{Host: s.Host, Port: port.Number, Weight: 1}
	h.binder.destination(r, &d, port.Number)
	return []*model.Route{forwardTo(d, h.in.config(r).DefaultRetry)}
}

func (h *sidecarHosts) routes(r *memo.Reader, vs *model.VirtualService, port uint32) []*model.Route {
	return h.binder.routes(r, vs.HTTP, scope{gateways: []string{meshGateway}, port: port})
}

// winner is the VirtualService of a host: one that names it before one with a
// wildcard, then the narrower wildcard, then the lower rank.
func (h *sidecarHosts) winner(r *memo.Reader, host string, port uint32) *model.VirtualService {
	for _, vs := range members(r, h.byHost, host, rankOf) {
		if h.in.routesAt(r, vs, port) {
			return vs
		}
	}
	var best *model.VirtualService
	width := ""
	for _, vs := range members(r, h.byHost, wild, rankOf) {
		if w := mostSpecific(vs.Hosts, host); len(w) > len(width) && h.in.routesAt(r, vs, port) {
			best, width = vs, w
		}
	}
	return best
}

func forwardTo(d model.Destination, retry *model.Retry) *model.Route {
	return &model.Route{Name: "default", Action: &model.Forward{Destinations: []model.Destination{d}, Retry: retry}}
}

// ofNames derives the virtual hosts of a VirtualService's hosts that are no
// service. As in Istio they stand in the tables of the VirtualService's other
// hosts, or in that of port 80, if some service has it.
func (h *sidecarHosts) ofNames(tables *memo.Cell[*model.RouteTable]) *memo.Derived[*model.VirtualService, *model.VirtualHost] {
	return memo.Flat(h.in.graph, h.routing, func(r *memo.Reader, _ string, vs *model.VirtualService, emit memo.Emit[*model.VirtualHost]) {
		names, ports := h.unknown(r, vs)
		for _, name := range names {
			for _, port := range ports {
				if _, ok := memo.Get(r, tables, tableName(port)); !ok {
					continue // no listener leads there
				}
				if routes := h.routes(r, vs, port); len(routes) > 0 && h.in.routesAt(r, vs, port) {
					vh := &model.VirtualHost{Table: tableName(port), Name: hostName(name, port), Domains: []string{name}, Routes: routes}
					if name == "*" {
						vh.Name = fallbackName
					}
					emit(vh.Table+"/"+vh.Name, vh)
					h.emitProxied(r, vh, port, emit)
				}
			}
		}
	}, memo.Same(sameHost))
}

// unknown are the hosts of vs that are no service and that no VirtualService
// of lower rank has too, and the ports of those that are services.
func (h *sidecarHosts) unknown(r *memo.Reader, vs *model.VirtualService) (names []string, ports []uint32) {
	for _, host := range vs.Hosts {
		if s, ok := memo.Get(r, h.services, host); ok {
			for _, p := range s.Ports {
				if routed(p) && !slices.Contains(ports, p.Number) {
					ports = append(ports, p.Number)
				}
			}
		} else if h.first(r, vs, host) && !h.coversService(r, host) && !h.shortName(r, host) && !slices.Contains(names, host) {
			names = append(names, host)
		}
	}
	if len(ports) == 0 {
		ports = []uint32{80}
	}
	return names, ports
}

// coversService reports whether a wildcard is meant for services, which have
// virtual hosts of their own (Istio): "*" takes nothing else.
func (h *sidecarHosts) coversService(r *memo.Reader, host string) bool {
	if !strings.HasPrefix(host, "*") {
		return false
	}
	_, ok := memo.Get(r, &h.covered.Cell, host)
	return ok
}

// first reports whether vs is the first of those that claim host.
func (h *sidecarHosts) first(r *memo.Reader, vs *model.VirtualService, host string) bool {
	for _, other := range members(r, h.byHost, hostKeys([]string{host})[0], rankOf) {
		if slices.Contains(other.Hosts, host) {
			return other == vs
		}
	}
	return true
}

// shortName reports whether name is another name of a visible service, whose
// domains have it already.
func (h *sidecarHosts) shortName(r *memo.Reader, name string) bool {
	if _, taken := memo.Get(r, &h.owners.Cell, strings.Trim(name, "[]")); taken {
		return true
	}
	name = strings.TrimPrefix(name, "*.")
	parts := strings.Split(strings.TrimSuffix(name, ".svc"), ".")
	if len(parts) == 1 {
		parts = append(parts, h.in.namespace(r))
	}
	if len(parts) > 2 {
		return false
	}
	_, taken := memo.Get(r, h.services, parts[0]+"."+parts[1]+".svc."+h.in.config(r).ClusterDomain)
	return taken
}
