package pilot

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/clustername"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/compile"
	"github.com/weftmesh/weft/pilot/internal/view"
)

// Description is what holds for one pod or service.
type Description struct {
	Kind      string `json:"kind"` // Pod or Service
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Sidecar, of a pod: requests to and from it pass a proxy of the mesh.
	Sidecar bool `json:"sidecar,omitempty"`
	// Proxyless, of a pod: its gRPC library speaks xDS, and it has no proxy.
	Proxyless bool `json:"proxyless,omitempty"`
	// ProxylessEndpoints, of a service, are such servers.
	ProxylessEndpoints int `json:"proxylessEndpoints,omitempty"`
	// Identity, of a pod: its SPIFFE URI.
	Identity string `json:"identity,omitempty"`
	// Host, of a service: its full name.
	Host string `json:"host,omitempty"`
	// Pods, of a service: the names of those that it selects.
	Pods []string `json:"-"`
	// Services, of a pod: the hosts of those that select it.
	Services []string          `json:"services,omitempty"`
	Ports    []PortDescription `json:"ports"`
	// Endpoints, of a service: how many there are, and how many of them take the
	// mesh's mTLS.
	Endpoints     int                 `json:"endpoints"`
	MTLSEndpoints int                 `json:"mtlsEndpoints"`
	Subsets       []SubsetDescription `json:"subsets,omitempty"`
	// Late is what its pods' own proxies waited for in vain; nil: nothing. This
	// package leaves it nil, as Seen of a port.
	Late *Late `json:"late,omitempty"`
	// Objects that hold for it, as "Kind namespace/name", sorted.
	Objects  []string          `json:"objects"`
	Findings []diag.Diagnostic `json:"findings,omitempty"`
}

// PortDescription is a port of a service, or of a pod by its services.
type PortDescription struct {
	Service  string `json:"service,omitempty"` // its host, in the description of a pod
	Name     string `json:"name,omitempty"`
	Number   uint32 `json:"number"`
	Target   string `json:"target"`   // the pod's port: a number or a name
	Protocol string `json:"protocol"` // "auto" is found out per connection
	Why      string `json:"why"`
	// MTLS is what a pod's proxy takes: PERMISSIVE, STRICT or DISABLE; "" without
	// one, and where a service's pods differ.
	MTLS string `json:"mtls,omitempty"`
	// Balancer is what clients in the service's namespace choose an endpoint by;
	// "" where they take the address that was dialled, and in the description of
	// a pod.
	Balancer string `json:"balancer,omitempty"`
	// Seen, of a port whose protocol is found out: what proxies have found. This
	// package leaves it nil: who can ask them fills it in.
	Seen *Seen `json:"seen,omitempty"`
}

// Seen is what connections of clients in the mesh to one port turned out to be,
// since their proxies started: a sum over those that were asked.
type Seen struct {
	HTTP1 uint64 `json:"http1"`
	HTTP2 uint64 `json:"http2"`
	// GRPC: some requests to the service were gRPC.
	GRPC bool `json:"grpc,omitempty"`
	// Bytes are connections that began with something else, such as TLS.
	Bytes uint64 `json:"bytes"`
	// Late are connections whose client said nothing in time; they count as bytes.
	Late uint64 `json:"late"`
}

// Late are connections to pods whose client said nothing in time, since the pods'
// proxies started: a sum over those that were asked.
type Late struct {
	Times uint64 `json:"times"`
	// Ports, of the pods, that may have been meant, sorted: those with connections.
	Ports []uint32 `json:"ports"`
}

// SubsetDescription is a subset and how many of the endpoints are in it.
type SubsetDescription struct {
	Name      string            `json:"name"`
	Rule      string            `json:"rule"` // the DestinationRule, namespace/name
	Labels    map[string]string `json:"labels,omitempty"`
	Endpoints int               `json:"endpoints"`
}

// DescribeService says what holds for the service of that name; ok is false if
// there is none. It has no effect.
func DescribeService(set config.Set, namespace, name string) (out Description, ok bool) {
	d := newDescriber(set)
	for _, s := range d.mesh.Services.All() {
		if s.Namespace == namespace && (s.Name == name || s.Host == name) {
			return d.service(s), true
		}
	}
	return out, false
}

// DescribePod says what holds for a pod; ok is false if there is none. It has no
// effect.
func DescribePod(set config.Set, namespace, name string) (out Description, ok bool) {
	d := newDescriber(set)
	w, ok := d.mesh.Workloads.Get(namespace + "/" + name)
	if !ok {
		return out, false
	}
	return d.pod(w), true
}

// describer is what the parts of a description share.
type describer struct {
	set     config.Set
	mesh    *model.Mesh
	objects map[string]bool
}

func newDescriber(set config.Set) *describer {
	return &describer{set: set, mesh: compile.Mesh(set).Mesh, objects: map[string]bool{}}
}

func (d *describer) note(kind config.Kind, key string) { d.objects[string(kind)+" "+key] = true }

// finish adds the objects that were noted, and what is wrong with them.
func (d *describer) finish(out *Description) {
	for name := range d.objects {
		out.Objects = append(out.Objects, name)
	}
	slices.Sort(out.Objects)
	for _, f := range Check(d.set) {
		if d.objects[f.Object.String()] {
			out.Findings = append(out.Findings, f)
		}
	}
}

func (d *describer) service(s *model.Service) Description {
	out := Description{Kind: "Service", Namespace: s.Namespace, Name: s.Name, Host: s.Host}
	if _, key, ok := strings.Cut(s.Origin.Source(), "/"); ok {
		d.note(config.ServiceEntry, key)
	} else {
		d.note(config.Service, s.Namespace+"/"+s.Name)
	}
	pods := d.selected(s)
	out.Ports = d.ports(s, pods)
	d.balancers(s, out.Ports)
	endpoints := d.endpoints(s)
	for _, e := range endpoints {
		out.Endpoints++
		if e.Proxyless {
			out.ProxylessEndpoints++
		}
		if e.MTLS || e.Proxyless && len(out.Ports) > 0 && out.Ports[0].MTLS == model.MTLSStrict.String() {
			out.MTLSEndpoints++
		}
	}
	out.Subsets = d.traffic(s, endpoints)
	for _, w := range pods {
		d.guards(w)
		out.Pods = append(out.Pods, w.Name)
	}
	d.finish(&out)
	return out
}

func (d *describer) pod(w *model.Workload) Description {
	out := Description{Kind: "Pod", Namespace: w.Namespace, Name: w.Name, Sidecar: w.InMesh, Proxyless: w.Proxyless}
	if w.InMesh || w.Proxyless {
		out.Identity = "spiffe://" + d.mesh.Settings.TrustDomain + "/ns/" + w.Namespace + "/sa/" + cmp.Or(w.ServiceAccount, "default")
	}
	d.note(config.Pod, w.Namespace+"/"+w.Name)
	d.guards(w)
	for _, s := range d.mesh.Services.All() {
		if !slices.Contains(d.selected(s), w) {
			continue
		}
		out.Services = append(out.Services, s.Host)
		d.note(config.Service, s.Namespace+"/"+s.Name)
		for _, p := range d.ports(s, []*model.Workload{w}) {
			p.Service = s.Host
			out.Ports = append(out.Ports, p)
		}
		d.traffic(s, nil)
	}
	for key, gw := range d.mesh.Gateways.All() {
		if len(gw.Selector) > 0 && model.Selects(gw.Selector, w.Labels) {
			d.note(config.Gateway, key)
			d.routed(key)
		}
	}
	d.finish(&out)
	return out
}

// selected are the pods of a service.
func (d *describer) selected(s *model.Service) (out []*model.Workload) {
	for _, w := range d.mesh.Workloads.All() {
		if w.Namespace == s.Namespace && s.Selects(w.Labels) {
			out = append(out, w)
		}
	}
	return out
}

// endpoints are those of the service's first port, so that none counts twice;
// where the set has no EndpointSlices, its pods.
func (d *describer) endpoints(s *model.Service) (out []*model.Endpoint) {
	if e, ok := d.mesh.Endpoints.Get(s.Host); ok && len(e.Ports) > 0 {
		return e.Ports[0].Endpoints
	}
	for _, w := range d.selected(s) {
		out = append(out, &model.Endpoint{Labels: w.Labels, MTLS: w.InMesh, Proxyless: w.Proxyless})
	}
	return out
}

func (d *describer) ports(s *model.Service, pods []*model.Workload) (out []PortDescription) {
	for _, p := range slices.Concat(s.Ports, compile.Datagrams(d.set, s)) {
		protocol, why := compile.WhyProtocol(d.set, s, p)
		port := PortDescription{Name: p.Name, Number: p.Number, Target: p.TargetName, Protocol: protocol, Why: why}
		if port.Target == "" {
			port.Target = strconv.FormatUint(uint64(p.Target), 10)
		}
		modes := map[string]bool{}
		if p.Protocol == model.ProtocolUDP {
			pods = nil // it passes proxies by
		}
		for _, w := range pods {
			modes[d.mode(w, p)] = true
		}
		if len(modes) == 1 {
			for mode := range modes {
				port.MTLS = mode
			}
		}
		out = append(out, port)
	}
	return out
}

// balancers fills in by what clients in the service's namespace choose.
func (d *describer) balancers(s *model.Service, ports []PortDescription) {
	clusters := view.Of(d.mesh, model.ProxyClass{Role: model.RoleOutbound, Namespace: s.Namespace}).Clusters
	for i := range ports {
		c, ok := clusters.Get(clustername.Of(ports[i].Number, "", s.Host))
		if !ok || c.Dialled() || ports[i].Protocol == model.ProtocolUDP.String() {
			continue
		}
		algorithm := model.LBLeastRequest
		if c.Traffic.LB != nil && c.Traffic.LB.Algorithm != model.LBDefault {
			algorithm = c.Traffic.LB.Algorithm
		}
		ports[i].Balancer = algorithm.String()
	}
}

// mode is what a pod's proxy takes at a service's port, or its gRPC library,
// which takes mutual TLS where it is STRICT and else clear text.
func (d *describer) mode(w *model.Workload, p model.Port) string {
	if !w.InMesh && !w.Proxyless {
		return ""
	}
	target := p.Target
	if p.TargetName != "" {
		target = w.Ports[p.TargetName]
	}
	mode := view.MTLSMode(d.mesh, w, target)
	if w.Proxyless && (mode != model.MTLSStrict || !p.Protocol.IsHTTP2()) {
		mode = model.MTLSDisable
	}
	return mode.String()
}

// guards notes the security policies of a pod in the mesh.
func (d *describer) guards(w *model.Workload) {
	if !w.InMesh && !w.Proxyless {
		return
	}
	rootNamespace := d.mesh.Settings.RootNamespace
	for key, p := range d.mesh.PeerAuth.All() {
		root := p.Namespace == rootNamespace && len(p.Selector) == 0
		if (root || p.Namespace == w.Namespace) && model.Selects(p.Selector, w.Labels) {
			d.note(config.PeerAuthentication, key)
		}
	}
	for key, a := range d.mesh.Authorizations.All() {
		if model.Guarded(a, rootNamespace, w) {
			d.note(config.AuthorizationPolicy, key)
		}
	}
	for key, t := range d.mesh.TokenPolicies.All() {
		if model.Guarded(t, rootNamespace, w) {
			d.note(config.RequestAuthentication, key)
		}
	}
}

// traffic notes the DestinationRules and VirtualServices of a service, and
// gives its subsets.
func (d *describer) traffic(s *model.Service, endpoints []*model.Endpoint) (out []SubsetDescription) {
	for key, p := range d.mesh.Policies.All() {
		if !hostname.Covers(p.Host, s.Host) {
			continue
		}
		d.note(config.DestinationRule, key)
		for i := range p.Subsets {
			sub := SubsetDescription{Name: p.Subsets[i].Name, Rule: key, Labels: p.Subsets[i].Labels}
			for _, e := range endpoints {
				if model.Selects(sub.Labels, e.Labels) {
					sub.Endpoints++
				}
			}
			out = append(out, sub)
		}
	}
	for key, v := range d.mesh.VirtualServices.All() {
		if slices.Contains(v.Hosts, s.Host) || leadsTo(v, s.Host) {
			d.note(config.VirtualService, key)
			for _, gw := range v.Gateways {
				if _, ok := d.mesh.Gateways.Get(gw); ok {
					d.note(config.Gateway, gw)
				}
			}
		}
	}
	return out
}

// routed notes the VirtualServices of a Gateway.
func (d *describer) routed(gateway string) {
	for key, v := range d.mesh.VirtualServices.All() {
		if slices.Contains(v.Gateways, gateway) {
			d.note(config.VirtualService, key)
		}
	}
}

// leadsTo reports whether a route of v sends requests or connections, or
// copies, to a host.
func leadsTo(v *model.VirtualService, host string) bool {
	for _, r := range slices.Concat(v.TLS, v.TCP) {
		if slices.ContainsFunc(r.Destinations, func(t model.Destination) bool { return t.Host == host }) {
			return true
		}
	}
	for _, r := range v.HTTP {
		f, ok := r.Action.(*model.Forward)
		if !ok {
			continue
		}
		if slices.ContainsFunc(f.Destinations, func(t model.Destination) bool { return t.Host == host }) ||
			slices.ContainsFunc(f.Mirrors, func(m model.Mirror) bool { return m.Host == host }) {
			return true
		}
	}
	return false
}
