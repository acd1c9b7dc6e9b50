package compile

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

const (
	entryGroup = "networking.istio.io"
	// autoAllocate is Istio's label by which an entry goes without addresses.
	autoAllocate = "networking.istio.io/enable-autoallocate-ip"
)

// entry is one compiled ServiceEntry. It declares a service for each host;
// those of several entries are joined later.
type entry struct {
	key, namespace string
	rank           string
	origin         model.Origin
	hosts          []string
	addresses      []string
	cidrs          []string
	ports          []model.Port
	resolve        model.Resolution
	outside        bool
	allocate       bool
	labels         map[string]string
	selector       map[string]string // nil: none
	endpoints      []*outsider
	exportTo       model.Visibility
	sans           []string
}

// compileServiceEntry reads one ServiceEntry.
//
// Source: istio.io/api networking/v1alpha3, message ServiceEntry. What is wrong
// is left out and reported; without a host nothing is left.
func compileServiceEntry(o *config.Object, in scope, d *diag.List) *entry {
	se, ok := o.Spec.(*networking.ServiceEntry)
	if !ok {
		return nil
	}
	out := &entry{
		key: o.Key(), namespace: o.Namespace, rank: rank(o), origin: origin(o, entryGroup, "service-entry"), labels: o.Labels,
		outside: se.GetLocation() == networking.ServiceEntry_MESH_EXTERNAL, resolve: resolution(se.GetResolution(), d),
		exportTo: exportTo(se.GetExportTo(), in.settings().ServiceExport, "spec.exportTo", d), sans: se.GetSubjectAltNames(),
	}
	out.exportTo = in.entryVisibility(o.Namespace).narrow(out.exportTo, o.Namespace)
	out.readHosts(se, d)
	out.hosts = slices.DeleteFunc(out.hosts, func(host string) bool {
		return !in.mayClaim(o.Namespace, host, out.exportTo, "spec.hosts", d)
	})
	out.readAddresses(se, d)
	out.readPorts(se, d)
	out.readEndpoints(o, se, in, d)
	out.checkServerNames(se, d)
	if len(out.hosts) == 0 {
		return nil
	}
	out.allocate = len(se.GetAddresses()) == 0 && out.resolve != model.ResolveNone && !strings.EqualFold(o.Labels[autoAllocate], "false")
	return out
}

func resolution(r networking.ServiceEntry_Resolution, d *diag.List) model.Resolution {
	switch r {
	case networking.ServiceEntry_NONE:
		return model.ResolveNone
	case networking.ServiceEntry_STATIC:
		return model.ResolveEndpoints
	case networking.ServiceEntry_DNS:
		return model.ResolveDNS
	case networking.ServiceEntry_DNS_ROUND_ROBIN:
		return model.ResolveFirst
	case networking.ServiceEntry_DYNAMIC_DNS:
		return model.ResolveAsked
	}
	d.Add(diag.Invalid, "spec.resolution", "%d is no resolution; NONE is in force", int32(r))
	return model.ResolveNone
}

func (e *entry) readHosts(se *networking.ServiceEntry, d *diag.List) {
	at := diag.Path("spec.hosts")
	if len(se.GetHosts()) == 0 {
		d.Add(diag.Invalid, at, "an entry needs at least one host")
	}
	for i, name := range se.GetHosts() {
		at := at.Index(i)
		host := strings.ToLower(strings.TrimSuffix(name, "."))
		wild := strings.HasPrefix(host, "*")
		_, notAddress := netip.ParseAddr(host)
		switch {
		case host == "*":
			d.Add(diag.Invalid, at, `"*" would be every host; name a domain, such as *.example.com`)
		case notAddress == nil:
			d.Add(diag.Invalid, at, "%q is an address: put it into addresses, and a name here", name)
		case !checkHost(host, at, d):
		case slices.Contains(e.hosts, host):
			d.Add(diag.Duplicate, at, "host %q is there twice", host)
		case wild && e.resolve.ByDNS() && len(se.GetEndpoints()) == 0 && se.GetWorkloadSelector() == nil:
			d.Add(diag.Invalid, at, "%q cannot be looked up: give endpoints, or the resolution DYNAMIC_DNS or NONE", name)
		case !wild && e.resolve == model.ResolveAsked:
			d.Add(diag.Invalid, at, "%q has no wildcard: DYNAMIC_DNS is for those, DNS for one host", name)
		default:
			e.hosts = append(e.hosts, host)
		}
	}
}

// readAddresses reads IPs and networks. A network of one address is that
// address.
func (e *entry) readAddresses(se *networking.ServiceEntry, d *diag.List) {
	for i, text := range se.GetAddresses() {
		at := diag.Path("spec.addresses").Index(i)
		prefix, err := netip.ParsePrefix(text)
		if addr, notIP := netip.ParseAddr(text); notIP == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		network := err == nil && prefix.Bits() < prefix.Addr().BitLen()
		switch {
		case err != nil:
			d.Add(diag.Invalid, at, "%q is neither an IP address nor a network such as 10.1.0.0/16", text)
		case prefix.Addr().Zone() != "" || !network && (prefix.Addr().IsUnspecified() || prefix.Addr().IsLoopback() || prefix.Addr().IsMulticast()):
			d.Add(diag.Invalid, at, "%q cannot be a service's address", text)
		case e.resolve == model.ResolveAsked:
			d.Add(diag.Invalid, at, "the resolution DYNAMIC_DNS takes no addresses: the host is that which the client names")
		case network && e.resolve != model.ResolveNone && e.resolve != model.ResolveEndpoints:
			d.Add(diag.Invalid, at, "a network needs the resolution NONE or STATIC")
		case network:
			e.cidrs = append(e.cidrs, prefix.Masked().String())
		default:
			e.addresses = append(e.addresses, prefix.Addr().Unmap().String())
		}
	}
	e.addresses, e.cidrs = unique(e.addresses), unique(e.cidrs)
}

// unique keeps the first of each.
func unique(in []string) (out []string) {
	for _, s := range in {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func (e *entry) readPorts(se *networking.ServiceEntry, d *diag.List) {
	names := map[string]bool{}
	for i, p := range se.GetPorts() {
		at := diag.Path("spec.ports").Index(i)
		if !checkPort(p.GetNumber(), at.Field("number"), d) {
			continue
		}
		switch {
		case p.GetNumber() == captureOutbound || p.GetNumber() == captureInbound:
			d.Add(diag.Invalid, at.Field("number"), "%d is where sidecars take captured connections; connections to it pass them unseen", p.GetNumber())
			continue
		case slices.ContainsFunc(e.ports, func(q model.Port) bool { return q.Number == p.GetNumber() }):
			d.Add(diag.Duplicate, at.Field("number"), "port %d is there twice", p.GetNumber())
			continue
		case p.GetName() == "":
			d.Add(diag.Invalid, at.Field("name"), "a port needs a name")
		case names[p.GetName()]:
			d.Add(diag.Duplicate, at.Field("name"), "a port named %q is there already", p.GetName())
			continue
		}
		names[p.GetName()] = true
		port := model.Port{Name: p.GetName(), Number: p.GetNumber(), Protocol: entryProtocol(p, at.Field("protocol"), d), Target: p.GetNumber()}
		if t := p.GetTargetPort(); t != 0 && checkPort(t, at.Field("targetPort"), d) {
			port.Target = t
		}
		if e.resolve == model.ResolveAsked && !port.Protocol.IsHTTP() && port.Protocol != model.ProtocolTLS {
			d.Add(diag.Invalid, at.Field("protocol"), "the resolution DYNAMIC_DNS needs HTTP, HTTP2, GRPC, HTTPS or TLS, which name the host")
			continue
		}
		e.ports = append(e.ports, port)
	}
	slices.SortFunc(e.ports, func(a, b model.Port) int { return cmp.Compare(a.Number, b.Number) })
}

// checkServerNames reports hosts that cannot be told by the server name.
func (e *entry) checkServerNames(se *networking.ServiceEntry, d *diag.List) {
	secure := slices.ContainsFunc(e.ports, func(p model.Port) bool { return p.Protocol == model.ProtocolTLS })
	if !secure || len(e.addresses)+len(e.cidrs) > 0 || e.resolve != model.ResolveNone && e.resolve != model.ResolveAsked {
		return
	}
	for i, host := range se.GetHosts() {
		if strings.HasPrefix(host, "*") && !strings.HasPrefix(host, "*.") {
			d.Add(diag.Invalid, diag.Path("spec.hosts").Index(i), "server names can be matched by whole labels only; write *.DOMAIN in place of %q", host)
		}
	}
}

// entryProtocol reads a port's protocol. Istio knows more names than its API's
// comment lists; one that nobody knows is found out per connection.
func entryProtocol(p *networking.ServicePort, at diag.Path, d *diag.List) model.Protocol {
	if protocol, ok := namedProtocol(p.GetProtocol()); ok {
		return protocol
	}
	if p.GetProtocol() != "" {
		d.Add(diag.Invalid, at, "%q is none of HTTP, HTTPS, HTTP2, GRPC, TLS, TCP and MONGO; it is found out per connection", p.GetProtocol())
	}
	if serverFirst(p.GetNumber()) {
		return model.ProtocolTCP
	}
	return model.ProtocolAuto
}

func (e *entry) readEndpoints(o *config.Object, se *networking.ServiceEntry, in scope, d *diag.List) {
	at := diag.Path("spec.endpoints")
	if s := se.GetWorkloadSelector(); s != nil {
		if len(se.GetEndpoints()) > 0 {
			d.Add(diag.Invalid, at, "endpoints and workloadSelector exclude one another; the selector is in force")
		}
		if e.resolve == model.ResolveNone || e.resolve == model.ResolveAsked {
			d.Add(diag.NoEffect, "spec.workloadSelector", "nothing is selected with the resolution %s", se.GetResolution())
			return
		}
		if len(s.GetLabels()) == 0 {
			d.Add(diag.NoEffect, "spec.workloadSelector.labels", "a selector without labels selects every workload of the namespace")
		}
		e.selector = map[string]string{}
		maps.Copy(e.selector, s.GetLabels())
		return
	}
	for i, host := range e.hosts {
		self := &outsider{endpoint: model.Endpoint{Address: host}, kind: byName}
		if len(se.GetEndpoints()) == 0 && e.resolve.ByDNS() {
			e.checkOwn(self, diag.Path("spec.hosts").Index(i), d)
		}
	}
	if len(se.GetEndpoints()) > 0 && (e.resolve == model.ResolveNone || e.resolve == model.ResolveAsked) {
		d.Add(diag.Invalid, at, "the resolution %s takes no endpoints: the client chooses the address", se.GetResolution())
		return
	}
	for i, we := range se.GetEndpoints() {
		if e.resolve == model.ResolveFirst && i > 0 {
			d.Add(diag.Invalid, at.Index(i), "the resolution DNS_ROUND_ROBIN takes one endpoint; the first is in force")
			break
		}
		if w := compileOutsider(we, outsiderOf{namespace: o.Namespace, key: o.Key(), in: in}, at.Index(i), d); w != nil && e.takes(w, at.Index(i), d) {
			e.endpoints = append(e.endpoints, w)
		}
	}
}

// checkOwn reports ports by which proxies would be sent to themselves.
func (e *entry) checkOwn(w *outsider, at diag.Path, d *diag.List) {
	for _, p := range e.ports {
		if n := w.port(p, p.Name); proxysOwn(w.endpoint.Address, n) {
			d.Add(toItself, at, "port %d of %s is one of the proxy's own; nobody is sent there", n, w.endpoint.Address)
		}
	}
}

// takes reports whether an endpoint fits the resolution and the ports.
func (e *entry) takes(w *outsider, at diag.Path, d *diag.List) bool {
	for _, name := range slices.Sorted(maps.Keys(w.ports)) {
		if !slices.ContainsFunc(e.ports, func(p model.Port) bool { return p.Name == name }) {
			d.Add(diag.Invalid, at.Field("ports").Key(name), "the entry has no port named %q", name)
		}
	}
	e.checkOwn(w, at.Field("address"), d)
	switch {
	case w.kind == byName && !e.resolve.ByDNS():
		d.Add(diag.Invalid, at.Field("address"), "%q is no IP address; names need the resolution DNS or DNS_ROUND_ROBIN", w.endpoint.Address)
	case w.kind == bySocket && e.resolve.ByDNS():
		d.Add(diag.Invalid, at.Field("address"), "a Unix socket needs the resolution STATIC")
	case w.kind == bySocket && len(e.ports) != 1:
		d.Add(diag.Invalid, at.Field("address"), "an entry with Unix sockets has exactly one port, this one has %d", len(e.ports))
	default:
		return true
	}
	return false
}

// declare makes the services that entries declare for a host, one for each
// namespace, that of the oldest entry first. Entries of a namespace are joined:
// ports, addresses and who is selected of all, the rest of the oldest.
func declare(host string, all memo.Table[*entry]) (out []*model.Service) {
	for _, e := range byRank(all) {
		i := slices.IndexFunc(out, func(s *model.Service) bool { return s.Namespace == e.namespace })
		if i < 0 {
			wild := strings.HasPrefix(host, "*")
			out = append(out, &model.Service{
				Host: host, Namespace: e.namespace, Name: host, Addresses: e.addresses, CIDRs: e.cidrs, Ports: e.ports, Selector: e.selector, Labels: e.labels,
				Resolve: e.resolve, ExportTo: e.exportTo, Origin: e.origin, Rank: e.rank, Outside: e.outside,
				Allocated: e.allocate && (!wild || e.resolve == model.ResolveAsked), SANs: e.sans,
			})
			continue
		}
		if s := out[i]; joins(s, e) {
			s.Addresses, s.CIDRs = unique(slices.Concat(s.Addresses, e.addresses)), unique(slices.Concat(s.CIDRs, e.cidrs))
			s.SANs = unique(slices.Concat(s.SANs, e.sans))
			s.Allocated = s.Allocated && len(s.Addresses)+len(s.CIDRs) == 0
			s.Ports = joinPorts(s.Ports, e.ports)
			if e.selector != nil {
				s.AlsoSelects = append(s.AlsoSelects, e.selector)
			}
		}
	}
	return out
}

// joins reports whether an entry can add to a service of its host. Each brings
// endpoints of its own, be they listed or selected: Istio keeps those of all
// entries of a host and namespace together
// (pilot/pkg/serviceregistry/serviceentry, mergeServicesInstancesByNamespaceHost).
func joins(s *model.Service, e *entry) bool {
	return s.Resolve == e.resolve && s.Outside == e.outside
}

func joinPorts(ports, more []model.Port) []model.Port {
	out := slices.Clone(ports)
	for _, p := range more {
		if !slices.ContainsFunc(out, func(q model.Port) bool { return q.Number == p.Number }) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b model.Port) int { return cmp.Compare(a.Number, b.Number) })
	return out
}

func byRank(all memo.Table[*entry]) (out []*entry) {
	for _, e := range all.All() {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *entry) int { return strings.Compare(a.rank, b.rank) })
	return out
}

// decorates reports whether the entry may add to a Service of Kubernetes. Who may
// serve is its owner's matter: another namespace's entry would have clients
// trust whom it names.
func (e *entry) decorates(s *model.Service, settings *model.Settings) bool {
	return e.namespace == s.Namespace || e.namespace == settings.RootNamespace
}

// checkEntry reports what other objects make of an entry: its host is a
// Service's, or an older entry's of its namespace that says otherwise.
func checkEntry(e *entry, in scope, d *diag.List) {
	for i, host := range e.hosts {
		at := diag.Path("spec.hosts").Index(i)
		if s, ok := memo.Get(in.r, &in.c.kube.values.Cell, host); ok {
			switch {
			case !e.decorates(s, in.settings()):
				d.Add(diag.NoEffect, at, "%q is the Service %s/%s, which entries of its own namespace alone can add to", host, s.Namespace, s.Name)
				continue
			case len(e.sans) > 0 && len(e.endpoints)+len(e.ports)+len(e.addresses)+len(e.cidrs) == 0:
				continue
			}
			d.Add(diag.NoEffect, at, "%q is the Service %s/%s: of this entry subjectAltNames alone count", host, s.Namespace, s.Name)
			continue
		}
		in.checkShort(host, e.namespace, at, d)
		all, _ := memo.Get(in.r, &in.c.entriesOf.Cell, host)
		for _, older := range byRank(all) {
			if older == e {
				break
			}
			if older.namespace == e.namespace {
				e.compare(older, host, at, d)
				break
			}
		}
		if e.allocate && len(e.cidrs) == 0 {
			s := in.service(host)
			if s != nil && s.Allocated && len(s.Addresses) == 0 {
				d.Add(diag.LeftOut, at, "no address is left in 240.240.0.0/16 for %q; give it addresses", host)
			}
		}
	}
	bytes := slices.ContainsFunc(e.ports, func(p model.Port) bool { return !p.Protocol.IsHTTP() && p.Protocol != model.ProtocolTLS })
	if len(e.hosts) > 1 && bytes && !e.allocate && e.resolve != model.ResolveNone {
		d.Add(diag.Invalid, "spec.hosts", "bytes do not say for which of %d hosts they are; the first by name gets them: make an entry for each host", len(e.hosts))
	}
}

// compare reports what an older entry of the same host and namespace has
// settled.
func (e *entry) compare(older *entry, host string, at diag.Path, d *diag.List) {
	if e.resolve != older.resolve || e.outside != older.outside {
		d.Add(diag.Duplicate, at, "the older ServiceEntry %s has %q with another resolution or location, and wins", older.key, host)
		return
	}
	for _, p := range e.ports {
		if slices.ContainsFunc(older.ports, func(q model.Port) bool {
			return q.Number == p.Number && (q.Name != p.Name || q.Protocol != p.Protocol)
		}) {
			d.Add(diag.Duplicate, at, "port %d of %q is another in the older ServiceEntry %s, which wins", p.Number, host, older.key)
		}
	}
}

// entryEndpoints gives the endpoints of a declared service: those of its
// entries, listed or selected, each for the ports of its own, else, by DNS, the
// host itself.
func entryEndpoints(s *model.Service, all memo.Table[*entry], selected func(*entry) memo.Table[*outsider]) (*model.Endpoints, bool) {
	if s.Resolve == model.ResolveNone || s.Resolve == model.ResolveAsked {
		return nil, false
	}
	var entries []*entry
	members := map[*entry][]*outsider{}
	for _, e := range byRank(all) {
		if e.namespace == s.Namespace && joins(s, e) {
			entries = append(entries, e)
			members[e] = slices.Concat(e.endpoints, e.chosen(selected(e)))
		}
	}
	out := &model.Endpoints{Host: s.Host}
	for _, p := range s.Ports {
		if eps := endpointsFor(s, p, entries, members); len(eps) > 0 {
			out.Ports = append(out.Ports, model.PortEndpoints{Port: p.Number, Endpoints: sortEndpoints(eps)})
		}
	}
	out.Identities = identities(out.Ports)
	return out, len(out.Ports) > 0
}

// chosen are those of the selected whose address the resolution can use.
func (e *entry) chosen(selected memo.Table[*outsider]) (out []*outsider) {
	for _, w := range selected.All() {
		if w.kind == byIP || w.kind == byName && e.resolve.ByDNS() {
			out = append(out, w)
		}
	}
	return out
}

// endpointsFor are the endpoints that entries have for a port of a service, each
// at the target port of its own entry. An entry that names nobody, listed or by a
// selector, has by DNS the host itself; so has one of whom nobody is left.
func endpointsFor(s *model.Service, p model.Port, entries []*entry, members map[*entry][]*outsider) (out []*model.Endpoint) {
	self := &outsider{kind: byName, endpoint: model.Endpoint{Address: s.Host, Namespace: s.Namespace}}
	for _, e := range entries {
		i := slices.IndexFunc(e.ports, func(q model.Port) bool { return q.Number == p.Number })
		if i < 0 || s.Resolve == model.ResolveFirst && len(out) > 0 {
			continue
		}
		own := members[e]
		if len(e.endpoints) == 0 && e.selector == nil && s.Resolve.ByDNS() && !strings.HasPrefix(s.Host, "*") {
			own = []*outsider{self}
		}
		for _, w := range own {
			out = append(out, w.at(e.ports[i], e.ports[i].Name)...)
		}
	}
	return out
}

// lowerHost is an address that is a name, as DNS compares it.
func lowerHost(name string) (string, bool) {
	host := strings.ToLower(strings.TrimSuffix(name, "."))
	return host, hostname.Check(host) == nil && !strings.HasPrefix(host, "*")
}
