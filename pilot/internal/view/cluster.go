package view

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/clustername"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// facts are what clusters need of a service's endpoints: they change seldom,
// endpoints often.
type facts struct {
	identities string // sorted, one a line
	meshed     bool   // there are some, and all terminate mesh mTLS
	plain      bool   // none terminates mesh mTLS
	plainSome  bool   // some do not
	empty      bool   // there is none
}

func endpointFacts(g *memo.Graph, endpoints *memo.Cell[*model.Endpoints]) *memo.Derived[*model.Endpoints, facts] {
	return memo.Map(g, endpoints, func(_ *memo.Reader, _ string, e *model.Endpoints) (facts, bool) {
		f := facts{identities: strings.Join(e.Identities, "\n")}
		count, plain := 0, 0
		for _, p := range e.Ports {
			for _, ep := range p.Endpoints {
				count++
				if !ep.MTLS {
					plain++
				}
			}
		}
		f.meshed, f.plain, f.empty = count > 0 && plain == 0, plain == count, count == 0
		f.plainSome = plain > 0
		return f, true
	})
}

// clusterMaker makes clusters of services.
type clusterMaker struct {
	in        *inputs
	services  *memo.Cell[*model.Service]
	effective *memo.Derived[*model.Service, *effective]
	endpoints *memo.Cell[*model.Endpoints]
	facts     *memo.Derived[*model.Endpoints, facts]
	router    bool
	bare      bool
	grpc      bool // of gRPC clients
	undialled bool // no client dials: they are asked by the proxy itself
}

func newClusterMaker(in *inputs, class model.ProxyClass, services *memo.Cell[*model.Service], rules *memo.Derived[*model.Service, *effective]) *clusterMaker {
	endpoints := &reachable(in).Cell
	return &clusterMaker{
		in: in, services: services, effective: rules, endpoints: endpoints, facts: endpointFacts(in.graph, endpoints),
		router: class.Role == model.RoleRouter, bare: class.Bare, grpc: class.Role == model.RoleGRPCClient,
	}
}

// of makes the cluster of a port and subset; nil if the subset does not exist.
func (m *clusterMaker) of(r *memo.Reader, s *model.Service, port model.Port, subset string) *model.Cluster {
	rulesOf := s.Host
	if m.undialled {
		rulesOf = s.Key() // those of one host in several namespaces are told apart
	}
	e, _ := memo.Get(r, &m.effective.Cell, rulesOf)
	sub := e.named(subset)
	if subset != "" && sub == nil {
		return nil
	}
	f, known := memo.Get(r, &m.facts.Cell, s.Key())
	c := &model.Cluster{
		Plain: m.bare && (f.plain || !known),
		Name:  clustername.Of(port.Number, subset, s.Host), Service: s, Port: port, Subset: subset,
		Traffic: m.in.traffic(r, e, port.Number, sub),
		SNI:     serverName(port.Number, subset, s.Host),
	}
	if f.identities != "" {
		c.Identities = strings.Split(f.identities, "\n")
	}
	c.Identities = append(c.Identities, s.SANs...)
	if e != nil {
		c.Origin = e.origin
	}
	ruled := c.Traffic // what a balancer adds by itself asks for no locality
	switch {
	case m.grpc:
		// Without endpoints nothing goes in clear text either, so that the first
		// one to come finds no cluster that would.
		forGRPC(c, !known || f.empty || !f.plain)
	case m.dialled(s, port):
		m.dial(r, c)
	default:
		c.Traffic = balanced(c, m.in.config(r), f.plainSome)
	}
	if s.Resolve.ByDNS() {
		all, _ := memo.Get(r, m.endpoints, s.Key())
		if c.Endpoints = all.Of(port.Number); subset != "" {
			c.Endpoints = ofSubset(c.Endpoints, sub)
		}
	}
	if t := c.Traffic.TLS; t != nil && len(t.SANs) == 0 && s.Origin != "" && len(s.SANs) > 0 && t.Mode != model.TLSDisable {
		own := *t
		own.SANs, c.Traffic.TLS = s.SANs, &own // Istio, ServiceEntry.subjectAltNames
	}
	if !c.Dialled() {
		c.Locality = localityFor(s, ruled, m.in.config(r))
	}
	if t := c.Traffic.TLS; t != nil && t.Mode == model.TLSMesh && t.SNI != "" {
		c.SNI = t.SNI
	}
	if t := c.Traffic.TLS; t != nil && t.Credential != "" {
		c.Traffic.TLS = m.ownTLS(r, t, e.selecting)
	}
	return c
}

// ownTLS resolves a credential: at gateways, and at sidecars that the rule
// selects, a Secret of the proxy's namespace; other sidecars use the files
// (Istio, ClientTLSSettings.credentialName), and fail where there are none.
func (m *clusterMaker) ownTLS(r *memo.Reader, t *model.ClientTLS, selecting bool) *model.ClientTLS {
	own := *t
	if m.router || selecting {
		own.Credential = credential(t.Credential, m.in.namespace(r))
		own.Cert, own.Key, own.CA, own.CRL = "", "", "", ""
		return &own
	}
	own.Credential = ""
	own.Lacking = t.Lacking || t.Mode == model.TLSMutual && (t.Cert == "" || t.Key == "") || t.CA == "" && !t.InsecureSkipVerify
	return &own
}

// dial makes c connect to the address that the client dialled. Such an
// endpoint has no metadata that says whether it speaks mTLS, so that all
// endpoints of the service must.
func (m *clusterMaker) dial(r *memo.Reader, c *model.Cluster) {
	c.Traffic.LB = &model.LoadBalancer{Algorithm: model.LBPassthrough}
	f, _ := memo.Get(r, &m.facts.Cell, c.Service.Key())
	if c.Traffic.TLS == nil && f.meshed && m.in.config(r).AutoMTLS {
		c.Traffic.TLS = &model.ClientTLS{Mode: model.TLSMesh}
	}
}

// dialled reports whether connections go to the address that the client chose
// itself: a headless service without HTTP is its pods' addresses. (With HTTP
// each request is balanced, which Istio does not do.)
func (m *clusterMaker) dialled(s *model.Service, port model.Port) bool {
	return s.Headless && !m.undialled && !m.router && !port.Protocol.IsHTTP() && s.Resolve == model.ResolveEndpoints
}

// outboundClusters derives every cluster of every visible service.
func outboundClusters(m *clusterMaker) *memo.Derived[*model.Service, *model.Cluster] {
	return memo.Flat(m.in.graph, m.services, func(r *memo.Reader, host string, s *model.Service, emit memo.Emit[*model.Cluster]) {
		subsets := []string{""}
		if e, ok := memo.Get(r, &m.effective.Cell, host); ok {
			for _, sub := range e.subsets {
				subsets = append(subsets, sub.Name)
			}
		}
		for _, port := range s.Ports {
			if port.Protocol == model.ProtocolUDP {
				continue
			}
			for _, subset := range subsets {
				c := m.of(r, s, port, subset)
				emit(c.Name, c)
			}
			if byPodName(s, port) && !m.grpc {
				c := m.podNames(r, s, port)
				emit(c.Name, c)
			}
		}
	}, memo.Same(sameCluster))
}

// byPodName reports whether a port's pods can be asked for one by one, by
// POD.SERVICE: then the address that the client dialled must be kept.
func byPodName(s *model.Service, port model.Port) bool {
	return s.Headless && port.Protocol.IsHTTP() && s.Resolve == model.ResolveEndpoints
}

func podNamesCluster(port uint32, host string) string { return clustername.Of(port, "", "*."+host) }

// podNames is the cluster of requests to POD.SERVICE of a headless service.
func (m *clusterMaker) podNames(r *memo.Reader, s *model.Service, port model.Port) *model.Cluster {
	c := m.of(r, s, port, "")
	c.Name = podNamesCluster(port.Number, s.Host)
	e, _ := memo.Get(r, &m.effective.Cell, s.Host)
	c.Traffic.Outlier = m.in.traffic(r, e, port.Number, nil).Outlier // none by default where no other host can take its place
	m.dial(r, c)
	return c
}

// assignments derives the endpoints of EDS clusters.
func assignments(in *inputs, clusters *memo.Cell[*model.Cluster], m *clusterMaker) *memo.Derived[*model.Cluster, *model.Assignment] {
	return memo.Map(in.graph, clusters, func(r *memo.Reader, name string, c *model.Cluster) (*model.Assignment, bool) {
		if !c.EDS() {
			return nil, false
		}
		all, _ := memo.Get(r, m.endpoints, c.Service.Key())
		a := &model.Assignment{Cluster: name, Endpoints: all.Of(c.Port.Number)}
		if c.Subset != "" {
			e, _ := memo.Get(r, &m.effective.Cell, c.Service.Host)
			a.Endpoints = ofSubset(a.Endpoints, e.named(c.Subset))
		}
		if c.MeshOnly {
			a.Endpoints = meshOnly(a.Endpoints)
		}
		if m.grpc {
			a.Endpoints = ofOneWay(a.Endpoints, c, in.config(r).AutoMTLS)
		}
		if c.Locality != nil {
			a.Groups = in.groups(r, c.Locality, a.Endpoints)
		}
		return a, true
	}, memo.Same(sameAssignment))
}

func ofSubset(all []*model.Endpoint, sub *model.Subset) []*model.Endpoint {
	if sub == nil {
		return nil
	}
	return slices.Collect(func(yield func(*model.Endpoint) bool) {
		for _, ep := range all {
			if model.Selects(sub.Labels, ep.Labels) && !yield(ep) {
				return
			}
		}
	})
}
