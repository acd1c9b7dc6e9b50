package pilot

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/clustername"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/compile"
	"github.com/weftmesh/weft/pilot/internal/view"
)

// proxyless gathers findings about processes whose gRPC library speaks xDS: what
// of the objects for the services that they may call they cannot honour, and
// what their servers cannot take.
type proxyless struct {
	set  config.Set
	mesh *model.Mesh
	pods []model.Workload
	// of are the pods of each class of clients.
	of map[model.ProxyClass][]model.Workload
	// said are the objects that were looked at: one client is named.
	said map[string]bool
	out  []diag.Diagnostic
}

func newProxyless(set config.Set, mesh *model.Mesh) *proxyless {
	p := &proxyless{set: set, mesh: mesh, of: map[model.ProxyClass][]model.Workload{}, said: map[string]bool{}}
	for _, w := range mesh.Workloads.All() {
		p.add(*w)
	}
	for _, w := range compile.Planned(set) {
		p.add(w)
	}
	slices.SortFunc(p.pods, func(a, b model.Workload) int { return cmp.Compare(podTitle(a), podTitle(b)) })
	classifier := view.NewClassifier()
	classifier.Update(mesh)
	for _, w := range p.pods {
		for _, class := range classifier.Classes(model.Proxy{Proven: true, Sidecar: true, Name: w.Name, Namespace: w.Namespace, Labels: w.Labels, Proxyless: true}) {
			p.of[class] = append(p.of[class], w)
		}
	}
	return p
}

func (p *proxyless) add(w model.Workload) {
	if w.Proxyless {
		p.pods = append(p.pods, w)
	}
}

// podTitle names a pod, or the Deployment that would make it.
func podTitle(w model.Workload) string {
	if w.Name == "" {
		return "Deployment " + w.Namespace + "/" + w.Controller
	}
	return "pod " + w.Namespace + "/" + w.Name
}

// caller is a pod of the class that may call a service: one that is not of it.
func (p *proxyless) caller(class model.ProxyClass, s *model.Service) (string, bool) {
	for _, w := range p.of[class] {
		if w.Namespace != s.Namespace || !s.Selects(w.Labels) {
			return podTitle(w), true
		}
	}
	return "", false
}

// note looks at what the clients of a class see.
func (p *proxyless) note(v *model.View) {
	if v.Class.Role != model.RoleGRPCClient {
		return
	}
	callers := map[string]string{} // by cluster that a gRPC call may go to
	for _, c := range v.Clusters.All() {
		if who, ok := p.caller(v.Class, c.Service); ok && c.Port.Protocol.IsHTTP2() {
			callers[c.Name] = who
			p.object(c.Origin, who)
			p.unreached(v, c, who)
		}
	}
	for _, h := range v.Hosts.All() {
		for _, r := range h.Routes {
			if who := calling(h, r, callers); who != "" {
				p.object(r.Origin, who)
			}
		}
	}
}

// calling is who may take a route: a caller of the host itself, or of a
// service that the route leads to.
func calling(h *model.VirtualHost, r *model.Route, callers map[string]string) string {
	host, port, _ := strings.Cut(h.Name, ":")
	who := callers[clustername.Name{Direction: clustername.Outbound, Port: port, Host: host}.String()]
	if f, ok := r.Action.(*model.Forward); ok && who == "" {
		for _, d := range f.Destinations {
			who = cmp.Or(who, callers[d.Cluster])
		}
	}
	return who
}

// object reports what of an object a client cannot honour.
func (p *proxyless) object(origin model.Origin, who string) {
	kind, key, _ := strings.Cut(origin.Source(), "/")
	if o, ok := p.set.Of(config.Kind(kind)).Get(key); ok && !p.said[origin.Source()] {
		p.said[origin.Source()] = true
		p.out = append(p.out, compile.Proxyless(o, who)...)
	}
}

// unreached reports endpoints of a cluster that its clients cannot use.
func (p *proxyless) unreached(v *model.View, c *model.Cluster, who string) {
	o, ok := p.serviceObject(c.Service)
	if !ok || c.Subset != "" || p.said[c.Name] {
		return
	}
	p.said[c.Name] = true
	d := diag.For(o.Ref())
	switch {
	case c.Service.Resolve == model.ResolveNone || c.Service.Resolve == model.ResolveAsked:
		d.Add(diag.ProxylessFails, "spec.resolution", "%s calls here without a proxy, and its calls to %s fail: a gRPC library cannot dial the address or name that the app asks for", who, c.Service.Host)
	case c.Service.Resolve.ByDNS() && len(c.Endpoints) > 1:
		d.Add(diag.ProxylessOther, "spec.endpoints", "%s calls here without a proxy, where %s is %s alone: a gRPC library asks DNS for one name", who, c.Service.Host, c.Endpoints[0].Address)
	case c.EDS() && c.Secured:
		all, _ := p.mesh.Endpoints.Get(c.Service.Key())
		used, _ := v.Assignments.Get(c.Name)
		if all == nil || used == nil {
			break
		}
		if n := len(all.Of(c.Port.Number)) - len(used.Endpoints); n > 0 {
			d.Add(diag.ProxylessLeftOut, "", "%s calls here without a proxy, and not at %d of the endpoints of %s: they take no mutual TLS, others do, and a gRPC library has one way for all", who, n, c.Service.Host)
		}
	}
	p.out = append(p.out, d.All()...)
}

func (p *proxyless) serviceObject(s *model.Service) (*config.Object, bool) {
	if kind, key, ok := strings.Cut(s.Origin.Source(), "/"); ok {
		return p.set.Of(config.Kind(kind)).Get(key)
	}
	return p.set.Of(config.Service).Get(s.Namespace + "/" + s.Name)
}

// findings are all, of servers too.
func (p *proxyless) findings() []diag.Diagnostic {
	for _, s := range p.mesh.Services.All() {
		first := true // of the service's pods: its ports are the same for all
		for _, w := range p.pods {
			if w.Namespace != s.Namespace || !s.Selects(w.Labels) {
				continue
			}
			p.tokens(w)
			if p.guards(s, w); first {
				p.server(s, w)
				first = false
			}
		}
	}
	return p.out
}

// server reports ports of a service that a pod without a proxy serves otherwise
// than its PeerAuthentication says.
func (p *proxyless) server(s *model.Service, w model.Workload) {
	o, ok := p.serviceObject(s)
	if !ok {
		return
	}
	d := diag.For(o.Ref())
	for _, port := range s.Ports {
		target := cmp.Or(w.Ports[port.TargetName], port.Target, port.Number)
		switch mode := view.MTLSMode(p.mesh, &w, target); {
		case port.Protocol == model.ProtocolUDP:
		case port.Protocol.IsHTTP2() && mode == model.MTLSPermissive:
			d.Add(diag.ProxylessPlain, "spec.ports", "%s serves port %d without a proxy, in clear text alone, for its mode is PERMISSIVE", podTitle(w), port.Number)
		case !port.Protocol.IsHTTP2() && mode == model.MTLSStrict:
			d.Add(diag.ProxylessUnguarded, "spec.ports", "%s serves port %d without a proxy, and nothing holds it to STRICT there: the port is not declared as gRPC's", podTitle(w), port.Number)
		}
	}
	p.out = append(p.out, d.All()...)
}
