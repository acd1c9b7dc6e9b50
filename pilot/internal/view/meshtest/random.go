package meshtest

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/weftmesh/weft/internal/model"
)

// visibility is to all more often than not, else to its own namespace, some
// others, or nobody.
func visibility(rnd *rand.Rand, namespaces []string) model.Visibility {
	switch rnd.IntN(8) {
	case 0, 1:
		return model.Visibility{Restricted: true, Private: true}
	case 2:
		return model.Visibility{Restricted: true, Private: rnd.IntN(2) == 0, Namespaces: namespaces[:1+rnd.IntN(2)]}
	case 3:
		return model.Visibility{None: true}
	}
	return model.Visibility{}
}

// sidecar is one of the namespace "default" that names a host or two.
func sidecar(rnd *rand.Rand, namespaces []string, host string) *model.Sidecar {
	s := &model.Sidecar{Namespace: "default", Name: fmt.Sprint("s", rnd.IntN(2)), Unknown: []*model.UnknownPolicy{nil, {}, {AllowAny: true}}[rnd.IntN(3)]}
	for range rnd.IntN(3) {
		l := model.EgressListener{Port: []uint32{0, 0, 80}[rnd.IntN(3)], Protocol: model.Protocol(rnd.IntN(3))}
		for range 1 + rnd.IntN(2) {
			in := append([]string{"*", "."}, namespaces...)[rnd.IntN(2+len(namespaces))]
			l.Hosts = append(l.Hosts, model.ScopeHost{Namespace: in, Host: []string{"*", host, "*.svc.cluster.local"}[rnd.IntN(3)], Excluded: rnd.IntN(4) == 0})
		}
		s.Egress = append(s.Egress, l)
	}
	return s
}

// declared makes a service one of a ServiceEntry.
func declared(rnd *rand.Rand, s *model.Service, rank string) {
	s.Origin, s.Rank = model.Origin("/apis/networking.istio.io/v1/namespaces/"+s.Namespace+"/service-entry/"+s.Name), rank
	s.Headless, s.Resolve, s.Outside = false, model.Resolution(rnd.IntN(5)), rnd.IntN(2) == 0
	s.CIDRs = [][]string{nil, nil, {"10.2.0.0/16"}, {"10.2.0.0/16", "fd00:2::/64"}}[rnd.IntN(4)]
	s.Host = []string{"*.outside", "a.outside", "b.outside", "a1.other"}[rnd.IntN(4)]
	s.Name = s.Host
}

// Random makes one random edit of a small mesh: an object of any kind, often
// with a name, host or address that another has too.
func Random(rnd *rand.Rand, m *Mesh) {
	ns := []string{"default", "other", "weft-system"}
	name, in := fmt.Sprintf("a%d", rnd.IntN(5)), ns[rnd.IntN(3)]
	host := Host(fmt.Sprintf("a%d", rnd.IntN(5)), ns[rnd.IntN(2)])
	if rnd.IntN(6) == 0 {
		host = []string{"*", "*.default.svc.cluster.local", "*.example", "a.example", "a0", "a1.default"}[rnd.IntN(6)]
	}
	rank := fmt.Sprint(rnd.IntN(9), "/", in, "/", name)
	switch rnd.IntN(9) {
	case 0:
		m.Remove(in, name)
	case 1, 2:
		s := Service(name, in, []string{"", "10.0.0.1", "10.0.0." + fmt.Sprint(rnd.IntN(9)), "fd00::1"}[rnd.IntN(4)])
		for _, p := range []uint32{80, 9000}[:1+rnd.IntN(2)] {
			s.Ports = append(s.Ports, Port(p, model.Protocol(rnd.IntN(7))))
		}
		s.ExportTo = visibility(rnd, ns)
		if rnd.IntN(3) == 0 {
			declared(rnd, s, rank)
		}
		m.Service(s)
	case 3, 4:
		var pods []*model.Endpoint
		for i := range rnd.IntN(4) {
			p := Pod(fmt.Sprintf("10.1.%d.%d", i, rnd.IntN(4)), 80, fmt.Sprintf("v%d", 1+rnd.IntN(2)))
			p.MTLS, p.Health = rnd.IntN(4) > 0, model.Health(rnd.IntN(3))
			pods = append(pods, p)
		}
		m.Endpoints(Behind(name, in, []uint32{80, 9000}[rnd.IntN(2)], pods...))
	case 5:
		p := Rule(name, in, host, []string{"v1", "v2"}[:rnd.IntN(3)]...)
		p.Rank = rank
		p.Traffic.Traffic.LB = []*model.LoadBalancer{nil, {Algorithm: model.LBHash, Hash: &model.ConsistentHash{Header: "x"}}, {Algorithm: model.LBPassthrough}}[rnd.IntN(3)]
		p.ExportTo = visibility(rnd, ns)
		p.Selector = []map[string]string{nil, nil, {"app": "a0"}}[rnd.IntN(3)]
		p.Traffic.Traffic.TLS = []*model.ClientTLS{nil, nil, {Mode: model.TLSSimple, Credential: "cred"}}[rnd.IntN(3)]
		m.Policy(p)
	case 6, 7:
		vs := Routing(name, in, host, To(host, "v1", 1, "v2", 2), To(Host("a1", "default"), "", 1))
		vs.Rank, vs.Hosts = rank, append(vs.Hosts, "b.example")
		vs.HTTP[0].Scope = model.Scope{Port: []uint32{0, 80}[rnd.IntN(2)], SourceNamespace: []string{"", "other"}[rnd.IntN(2)],
			SourceLabels: []map[string]string{nil, {"app": "a0"}}[rnd.IntN(2)]}
		vs.ExportTo = visibility(rnd, ns)
		vs.Gateways = []string{"mesh", "default/web"}[rnd.IntN(2):]
		if vs.HTTP[0].Scope.Port == 0 && !strings.HasPrefix(host, "*") { // a destination is one host
			vs.TCP = []*model.BytesRoute{{Scope: vs.HTTP[0].Scope, Destinations: []model.Destination{{Host: host, Weight: 1}, {Host: host, Weight: 3}}}}
		}
		m.VirtualService(vs)
	default:
		mode := model.MTLSMode(rnd.IntN(3))
		m.PeerAuth(&model.PeerAuth{Namespace: in, Name: name, Rank: rank, Mode: &mode,
			Selector: []map[string]string{nil, {"app": name}}[rnd.IntN(2)], Ports: map[uint32]model.MTLSMode{80: model.MTLSMode(rnd.IntN(3))}})
	}
	if rnd.IntN(12) == 0 {
		m.Sidecar(sidecar(rnd, ns, host))
	}
	if rnd.IntN(20) == 0 {
		m.Secret(&model.Secret{Namespace: in, Name: "cred", CA: []byte{byte(rnd.IntN(3))}})
	}
	if rnd.IntN(20) == 0 {
		m.Settings(func(s *model.Settings) { s.OutboundAllowAny = !s.OutboundAllowAny })
	}
}
