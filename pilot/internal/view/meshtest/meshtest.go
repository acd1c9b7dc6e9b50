// Package meshtest makes meshes for tests of the stages behind compile.
//
// In: a few numbers and names. Out: *model.Mesh values. Imports: model and
// memo. Only tests may import it.
package meshtest

import (
	"fmt"
	"time"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// Mesh is a mesh that tests edit; each edit leaves the meshes given out
// before as they were. The zero Mesh is not ready: use New.
type Mesh struct{ m model.Mesh }

// New returns a mesh with default settings and nothing in it.
func New() *Mesh {
	return &Mesh{m: model.Mesh{Settings: &model.Settings{
		TrustDomain: "cluster.local", ClusterDomain: "cluster.local", RootNamespace: "weft-system", ClusterID: "Kubernetes",
		OutboundAllowAny: true, AutoMTLS: true, ConnectTimeout: 10 * time.Second,
		DefaultRetry: &model.Retry{Attempts: 2, On: "connect-failure,refused-stream,unavailable,cancelled"},
	}}}
}

// Model returns the mesh as it is now.
func (m *Mesh) Model() *model.Mesh { now := m.m; return &now }

// Settings replaces the settings by what change makes of a copy.
func (m *Mesh) Settings(change func(*model.Settings)) *Mesh {
	s := *m.m.Settings
	change(&s)
	m.m.Settings = &s
	return m
}

// Service adds or replaces services.
func (m *Mesh) Service(all ...*model.Service) *Mesh {
	for _, s := range all {
		m.m.Services = m.m.Services.With(s.Host, s)
	}
	return m
}

// Endpoints adds or replaces the endpoints of services.
func (m *Mesh) Endpoints(all ...*model.Endpoints) *Mesh {
	for _, e := range all {
		m.m.Endpoints = m.m.Endpoints.With(e.Host, e)
	}
	return m
}

// Policy adds or replaces DestinationRules.
func (m *Mesh) Policy(all ...*model.Policy) *Mesh {
	for _, p := range all {
		m.m.Policies = with(m.m.Policies, p.Namespace, p.Name, p)
	}
	return m
}

// VirtualService adds or replaces VirtualServices.
func (m *Mesh) VirtualService(all ...*model.VirtualService) *Mesh {
	for _, vs := range all {
		m.m.VirtualServices = with(m.m.VirtualServices, vs.Namespace, vs.Name, vs)
	}
	return m
}

// Gateway adds or replaces Gateways.
func (m *Mesh) Gateway(all ...*model.Gateway) *Mesh {
	for _, g := range all {
		m.m.Gateways = with(m.m.Gateways, g.Namespace, g.Name, g)
	}
	return m
}

// PeerAuth adds or replaces PeerAuthentications.
func (m *Mesh) PeerAuth(all ...*model.PeerAuth) *Mesh {
	for _, p := range all {
		m.m.PeerAuth = with(m.m.PeerAuth, p.Namespace, p.Name, p)
	}
	return m
}

// Sidecar adds or replaces Sidecars.
func (m *Mesh) Sidecar(all ...*model.Sidecar) *Mesh {
	for _, s := range all {
		m.m.Sidecars = with(m.m.Sidecars, s.Namespace, s.Name, s)
	}
	return m
}

// Secret adds or replaces credentials.
func (m *Mesh) Secret(all ...*model.Secret) *Mesh {
	for _, s := range all {
		m.m.Secrets = with(m.m.Secrets, s.Namespace, s.Name, s)
	}
	return m
}

// Workload adds or replaces pods.
func (m *Mesh) Workload(all ...*model.Workload) *Mesh {
	for _, w := range all {
		m.m.Workloads = with(m.m.Workloads, w.Namespace, w.Name, w)
	}
	return m
}

func with[V comparable](t memo.Table[V], namespace, name string, v V) memo.Table[V] {
	return t.With(namespace+"/"+name, v)
}

// Host is the fully qualified host of a service.
func Host(name, namespace string) string { return name + "." + namespace + ".svc.cluster.local" }

// Service makes a service that selects app=NAME.
func Service(name, namespace, ip string, ports ...model.Port) *model.Service {
	s := &model.Service{Host: Host(name, namespace), Name: name, Namespace: namespace, Selector: map[string]string{"app": name}, Ports: ports, Headless: ip == ""}
	if ip != "" {
		s.Addresses = []string{ip}
	}
	return s
}

// Port makes a port whose target has the same number.
func Port(number uint32, protocol model.Protocol) model.Port {
	return model.Port{Name: fmt.Sprintf("%s-%d", protocol, number), Number: number, Target: number, Protocol: protocol}
}

// Pod makes an endpoint of version on a port.
func Pod(address string, port uint32, version string) *model.Endpoint {
	return &model.Endpoint{Address: address, Port: port, MTLS: true, Labels: map[string]string{"version": version}}
}

// Behind makes the endpoints of one port of a service, each of its own
// identity spiffe://cluster.local/ns/NAMESPACE/sa/NAME.
func Behind(name, namespace string, port uint32, pods ...*model.Endpoint) *model.Endpoints {
	id := "spiffe://cluster.local/ns/" + namespace + "/sa/" + name
	for _, p := range pods {
		p.Identity = id
	}
	return &model.Endpoints{Host: Host(name, namespace), Identities: []string{id}, Ports: []model.PortEndpoints{{Port: port, Endpoints: pods}}}
}

// To makes a route to a weighted list of subsets of host: To("h", "v1", 90).
func To(host string, subsets ...any) *model.Route {
	f := &model.Forward{}
	for i := 0; i+1 < len(subsets); i += 2 {
		f.Destinations = append(f.Destinations, model.Destination{Host: host, Subset: subsets[i].(string), Weight: uint32(subsets[i+1].(int))})
	}
	return &model.Route{Action: f}
}

// Routing makes a VirtualService of one host for sidecars.
func Routing(name, namespace, host string, routes ...*model.Route) *model.VirtualService {
	origin := model.Origin("/apis/networking.istio.io/v1/namespaces/" + namespace + "/virtual-service/" + name)
	for _, r := range routes {
		r.Origin = origin
	}
	return &model.VirtualService{Namespace: namespace, Name: name, Origin: origin, Rank: namespace + "/" + name, Hosts: []string{host}, Gateways: []string{"mesh"}, HTTP: routes}
}

// Rule makes a DestinationRule with subsets by label version.
func Rule(name, namespace, host string, subsets ...string) *model.Policy {
	p := &model.Policy{Namespace: namespace, Name: name, Rank: namespace + "/" + name, Host: host,
		Origin: model.Origin("/apis/networking.istio.io/v1/namespaces/" + namespace + "/destination-rule/" + name)}
	for _, s := range subsets {
		p.Subsets = append(p.Subsets, model.Subset{Name: s, Labels: map[string]string{"version": s}})
	}
	return p
}

// Bookshop is a small mesh of every kind of object.
func Bookshop() *Mesh {
	m := New()
	m.Service(
		Service("reviews", "default", "10.96.0.1", Port(9080, model.ProtocolHTTP)),
		Service("ratings", "default", "", Port(9090, model.ProtocolGRPC)),
		Service("db", "default", "10.96.0.3", Port(5432, model.ProtocolTCP)),
		Service("any", "default", "10.96.0.4", Port(7000, model.ProtocolAuto)),
		Service("peers", "default", "", Port(7001, model.ProtocolTCP)),
	)
	m.Endpoints(
		Behind("reviews", "default", 9080, Pod("10.244.0.1", 9080, "v1"), Pod("10.244.0.2", 9080, "v2")),
		Behind("ratings", "default", 9090, Pod("10.244.0.3", 9090, "v1"), Pod("10.244.0.4", 9090, "v1")),
		Behind("db", "default", 5432, Pod("10.244.0.5", 5432, "v1")),
		Behind("any", "default", 7000, Pod("10.244.0.6", 7000, "v1")),
		Behind("peers", "default", 7001, Pod("10.244.0.7", 7001, "v1")),
	)
	reviews := Host("reviews", "default")
	m.Policy(Rule("reviews", "default", reviews, "v1", "v2"))
	m.VirtualService(Routing("reviews", "default", reviews, To(reviews, "v1", 90, "v2", 10)))
	m.Gateway(&model.Gateway{Namespace: "default", Name: "web", Rank: "web", Selector: map[string]string{"istio": "ingressgateway"}, Servers: []model.Server{{
		Name: "http", Port: 80, Protocol: model.ProtocolHTTP, Hosts: []model.ServerHost{{Namespace: "*", Host: "*"}}, RouteTable: "http.80",
	}}})
	front := Routing("front", "default", "shop.example", To(reviews, "", 1))
	front.Gateways = []string{"default/web"}
	return m.VirtualService(front)
}

// Classes of proxies in Bookshop's mesh.
var (
	Outbound = model.ProxyClass{Role: model.RoleOutbound, Namespace: "default"}
	Inbound  = model.ProxyClass{Role: model.RoleInbound, Namespace: "default", Labels: "app=reviews"}
	Router   = model.ProxyClass{Role: model.RoleRouter, Namespace: "weft-system", Labels: "istio=ingressgateway"}
)

// Large is a mesh of n HTTP services with four endpoints each; a tenth have a
// VirtualService and a DestinationRule.
func Large(n int) *Mesh {
	m := New()
	for i := range n {
		name := fmt.Sprintf("s%05d", i)
		m.Service(Service(name, "default", fmt.Sprintf("10.100.%d.%d", i/250, 1+i%250), Port(80, model.ProtocolHTTP)))
		var pods []*model.Endpoint
		for p := range 4 {
			pods = append(pods, Pod(fmt.Sprintf("10.%d.%d.%d", 1+p, i/250, 1+i%250), 8080, fmt.Sprintf("v%d", 1+p%2)))
		}
		m.Endpoints(Behind(name, "default", 80, pods...))
		if i%10 == 0 {
			host := Host(name, "default")
			m.Policy(Rule(name, "default", host, "v1", "v2"))
			m.VirtualService(Routing(name, "default", host, To(host, "v1", 90, "v2", 10)))
		}
	}
	return m
}

// Remove takes away every object of that name.
func (m *Mesh) Remove(namespace, name string) *Mesh {
	key := namespace + "/" + name
	m.m.Services = m.m.Services.Without(Host(name, namespace))
	m.m.Endpoints = m.m.Endpoints.Without(Host(name, namespace))
	m.m.Policies = m.m.Policies.Without(key)
	m.m.VirtualServices = m.m.VirtualServices.Without(key)
	m.m.Gateways = m.m.Gateways.Without(key)
	m.m.PeerAuth = m.m.PeerAuth.Without(key)
	m.m.Secrets = m.m.Secrets.Without(key)
	return m
}
