package view

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// Classifier says of which classes a proxy is. It keeps up to date which
// labels and named ports some object reads, at a cost that follows the change.
// It belongs to one goroutine.
type Classifier struct {
	in     *inputs
	mesh   *model.Mesh
	routes *memo.Grouped[*model.VirtualService] // by label key that a route selects sources by
	rules  *memo.Grouped[*model.Policy]         // by "namespace/key", as all below
	server *memo.Grouped[*model.Service]
	auth   *memo.Grouped[*model.PeerAuth]
	router *memo.Grouped[*model.Gateway]
	ports  *memo.Grouped[*model.Service] // by "namespace/name" of a named target port
}

// NewClassifier returns a Classifier that has seen no mesh yet.
func NewClassifier() *Classifier {
	in := newInputs(&memo.Graph{})
	g := in.graph
	return &Classifier{
		in:     in,
		routes: memo.Group(g, &in.virtualServices.Cell, func(_ string, vs *model.VirtualService) []string { return sourceKeys(vs) }),
		rules:  memo.Group(g, &in.policies.Cell, func(_ string, p *model.Policy) []string { return keysIn(p.Namespace, p.Selector) }),
		server: memo.Group(g, &in.services.Cell, func(_ string, s *model.Service) []string { return keysIn(s.Namespace, s.Selector) }),
		auth:   memo.Group(g, &in.peerAuth.Cell, func(_ string, p *model.PeerAuth) []string { return keysIn(p.Namespace, p.Selector) }),
		router: memo.Group(g, &in.gateways.Cell, func(_ string, gw *model.Gateway) []string { return keysIn("", gw.Selector) }),
		ports:  memo.Group(g, &in.services.Cell, func(_ string, s *model.Service) []string { return targetNames(s) }),
	}
}

// Update shows the Classifier a mesh; it reports whether the classes of any
// proxy may differ now.
func (c *Classifier) Update(mesh *model.Mesh) bool {
	if c.mesh == mesh {
		return false
	}
	before := c.counts()
	workloads := c.mesh != nil && c.mesh.Workloads.Equal(mesh.Workloads)
	c.mesh = mesh
	c.in.set(mesh)
	c.in.graph.Run()
	return !workloads || before != c.counts()
}

// keySets are what classes depend on beside the proxy itself.
type keySets [6]string

func (c *Classifier) counts() keySets {
	return keySets{keyList(&c.routes.Cell), keyList(&c.rules.Cell), keyList(&c.server.Cell), keyList(&c.auth.Cell), keyList(&c.router.Cell), keyList(&c.ports.Cell)}
}

func keyList[V comparable](groups *memo.Cell[V]) string {
	var b strings.Builder
	for key := range groups.Table().All() {
		b.WriteString(key)
		b.WriteByte('\n')
	}
	return b.String()
}

// Classes returns the classes of a proxy: a sidecar's outbound and inbound
// class, or a router's one. Labels are those of the pod, where the mesh knows
// it, else what the proxy says.
func (c *Classifier) Classes(proxy model.Proxy) []model.ProxyClass {
	labels, ports := proxy.Labels, map[string]uint32(nil)
	if c.mesh != nil {
		if w, ok := c.mesh.Workloads.Get(proxy.Namespace + "/" + proxy.Name); ok {
			labels, ports = w.Labels, w.Ports
		}
	}
	ns := proxy.Namespace
	clientLabels := filter(labels, func(key string) bool { return has(&c.routes.Cell, key) || has(&c.rules.Cell, ns+"/"+key) })
	if !proxy.Sidecar {
		// A Service of the gateway says at which port its pods listen.
		routerLabels := filter(labels, func(key string) bool { return has(&c.router.Cell, "/"+key) || has(&c.server.Cell, ns+"/"+key) })
		for k, v := range clientLabels {
			routerLabels[k] = v
		}
		return []model.ProxyClass{{Role: model.RoleRouter, Namespace: ns, Labels: model.FormatLabels(routerLabels), Ports: c.namedPorts(ns, ports), Bare: !proxy.Proven}}
	}
	serverLabels := filter(labels, func(key string) bool {
		key = ns + "/" + key
		return has(&c.server.Cell, key) || has(&c.auth.Cell, key) || has(&c.rules.Cell, key)
	})
	return []model.ProxyClass{
		{Role: model.RoleOutbound, Namespace: ns, Labels: model.FormatLabels(clientLabels), Bare: !proxy.Proven},
		{Role: model.RoleInbound, Namespace: ns, Labels: model.FormatLabels(serverLabels), Ports: c.namedPorts(ns, ports), Bare: !proxy.Proven},
	}
}

// Classes is Classifier.Classes from nothing.
func Classes(mesh *model.Mesh, proxy model.Proxy) []model.ProxyClass {
	c := NewClassifier()
	c.Update(mesh)
	return c.Classes(proxy)
}

// namedPorts formats those of the workload's ports that some service of the
// namespace targets by name: "admin=9000,http=8080".
func (c *Classifier) namedPorts(ns string, ports map[string]uint32) string {
	var out []string
	for name, number := range ports {
		if has(&c.ports.Cell, ns+"/"+name) {
			out = append(out, fmt.Sprintf("%s=%d", name, number))
		}
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func has[V comparable](groups *memo.Cell[V], key string) bool {
	_, ok := groups.Table().Get(key)
	return ok
}

func filter(labels map[string]string, keep func(key string) bool) map[string]string {
	out := map[string]string{}
	for k, v := range labels {
		if keep(k) {
			out[k] = v
		}
	}
	return out
}

func keysIn(namespace string, selector map[string]string) (keys []string) {
	for k := range selector {
		keys = append(keys, namespace+"/"+k)
	}
	return keys
}

func sourceKeys(vs *model.VirtualService) (keys []string) {
	for _, route := range vs.HTTP {
		for k := range route.Scope.SourceLabels {
			if !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
	}
	return keys
}

func targetNames(s *model.Service) (keys []string) {
	for _, p := range s.Ports {
		if key := s.Namespace + "/" + p.TargetName; p.TargetName != "" && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}
