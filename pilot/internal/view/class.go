package view

import (
	"cmp"
	"fmt"
	"net/url"
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
	// places are the labels that say where a client is, and that some rule or
	// Service asks its clients for; namespace "" is all.
	places *memo.Grouped[*model.Policy]
	wishes *memo.Grouped[*model.Service]
	ports  *memo.Grouped[*model.Service]     // by "namespace/name" of a named target port
	scopes *memo.Grouped[*model.Sidecar]     // by namespace
	filter *memo.Grouped[*model.EnvoyFilter] // by "ROLE|namespace/key", see filterKeys
	rights *memo.Grouped[*model.Authorization]
	tokens *memo.Grouped[*model.TokenPolicy]
	// told are the labels of Telemetries for clients, heard those for servers.
	told, heard *memo.Grouped[*model.Telemetry]
}

// NewClassifier returns a Classifier that has seen no mesh yet.
func NewClassifier() *Classifier {
	in := newInputs(&memo.Graph{})
	g := in.graph
	return &Classifier{
		in:     in,
		routes: memo.Group(g, &in.virtualServices.Cell, func(_ string, vs *model.VirtualService) []string { return sourceKeys(vs) }),
		rules:  memo.Group(g, &in.policies.Cell, func(_ string, p *model.Policy) []string { return keysIn(p.Namespace, p.Selector) }),
		server: memo.Group(g, &in.services.Cell, func(_ string, s *model.Service) []string { return keysIn(s.Namespace, s.Selectors()...) }),
		auth:   memo.Group(g, &in.peerAuth.Cell, func(_ string, p *model.PeerAuth) []string { return keysIn(p.Namespace, p.Selector) }),
		router: memo.Group(g, &in.gateways.Cell, func(_ string, gw *model.Gateway) []string { return keysIn("", gw.Selector) }),
		scopes: memo.Group(g, &in.sidecars.Cell, func(_ string, s *model.Sidecar) []string { return []string{s.Namespace} }),
		filter: memo.Group(g, &in.filters.Cell, func(_ string, f *model.EnvoyFilter) []string { return filterKeys(f) }),
		places: memo.Group(g, &in.policies.Cell, func(_ string, p *model.Policy) []string { return placeKeys(p) }),
		wishes: memo.Group(g, &in.services.Cell, func(_ string, s *model.Service) []string {
			return clientKeys(s.ExportTo, s.Namespace, s.Locality.Needs(false))
		}),
		rights: memo.Group(g, &in.authorizations.Cell, func(_ string, a *model.Authorization) []string { return guardKeys(a) }),
		tokens: memo.Group(g, &in.tokens.Cell, func(_ string, p *model.TokenPolicy) []string { return guardKeys(p) }),
		ports:  memo.Group(g, &in.services.Cell, func(_ string, s *model.Service) []string { return targetNames(s) }),
		told:   memo.Group(g, &in.telemetries.Cell, func(_ string, t *model.Telemetry) []string { return telemetryKeys(t, false) }),
		heard:  memo.Group(g, &in.telemetries.Cell, func(_ string, t *model.Telemetry) []string { return telemetryKeys(t, true) }),
	}
}

// Update shows the Classifier a mesh; it reports whether the classes of any
// proxy may differ now.
func (c *Classifier) Update(mesh *model.Mesh) bool {
	if c.mesh == mesh {
		return false
	}
	before := c.counts()
	same := c.mesh != nil && c.mesh.Workloads.Equal(mesh.Workloads) && c.mesh.Sidecars.Equal(mesh.Sidecars) && c.mesh.Settings == mesh.Settings
	c.mesh = mesh
	c.in.set(mesh, mesh.Settings)
	c.in.graph.Run()
	return !same || before != c.counts()
}

// keySets are what classes depend on beside the proxy itself.
type keySets [14]string

func (c *Classifier) counts() keySets {
	return keySets{keyList(&c.routes.Cell), keyList(&c.rules.Cell), keyList(&c.server.Cell), keyList(&c.auth.Cell), keyList(&c.router.Cell), keyList(&c.ports.Cell),
		keyList(&c.filter.Cell), keyList(&c.places.Cell), keyList(&c.wishes.Cell), keyList(&c.rights.Cell), keyList(&c.tokens.Cell), keyList(&c.told.Cell), keyList(&c.heard.Cell), c.root()}
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
	place, node := proxy.Locality, ""
	var said model.OwnProxy
	if c.mesh != nil {
		if w, ok := c.mesh.Workloads.Get(proxy.Namespace + "/" + proxy.Name); ok {
			labels, ports, place, node = w.Labels, w.Ports, w.Locality, w.Node
			if w.Proxy != nil {
				said = model.OwnProxy{Said: true, ProxySettings: *w.Proxy}
			}
		}
	}
	ns := proxy.Namespace
	clientLabels := filter(labels, func(key string) bool {
		return has(&c.routes.Cell, key) || has(&c.rules.Cell, ns+"/"+key) || has(&c.told.Cell, ns+"/"+key) || c.filters(model.RoleOutbound, ns, key)
	})
	if own := labels[model.LabelLocality]; own != "" {
		place = model.ParseLocality(own)
	}
	at := model.LocalityLabels(place, node, c.clusterID())
	c.addPlace(clientLabels, ns, labels, at)
	if !proxy.Sidecar {
		// A Service of the gateway says at which port its pods listen.
		routerLabels := filter(labels, func(key string) bool {
			return has(&c.router.Cell, "/"+key) || has(&c.server.Cell, ns+"/"+key) || c.filters(model.RoleRouter, ns, key) || c.guards(ns, key)
		})
		for k, v := range clientLabels {
			routerLabels[k] = v
		}
		own := model.ProxyClass{Role: model.RoleRouter, Namespace: ns, Labels: model.FormatLabels(routerLabels), Ports: c.namedPorts(ns, ports), Bare: !proxy.Proven, Metadata: c.metadata(model.RoleRouter, proxy), Proxy: said}
		c.discovers(&own, proxy, labels, at)
		return []model.ProxyClass{own}
	}
	serverLabels := filter(labels, func(key string) bool {
		if c.filters(model.RoleInbound, ns, key) || c.guards(ns, key) {
			return true
		}
		key = ns + "/" + key
		return has(&c.server.Cell, key) || has(&c.auth.Cell, key) || has(&c.rules.Cell, key) || has(&c.heard.Cell, key)
	})
	said = c.withoutEdge(said)
	client := model.ProxyClass{Role: model.RoleOutbound, Namespace: ns, Labels: model.FormatLabels(clientLabels), Bare: !proxy.Proven, Metadata: c.metadata(model.RoleOutbound, proxy), Proxy: said}
	server := model.ProxyClass{Role: model.RoleInbound, Namespace: ns, Labels: model.FormatLabels(serverLabels), Ports: c.namedPorts(ns, ports), Bare: !proxy.Proven, Metadata: c.metadata(model.RoleInbound, proxy), Proxy: said}
	c.discovers(&client, proxy, labels, at)
	c.discovers(&server, proxy, labels, at)
	if s := c.sidecarOf(ns, labels); s != nil {
		if client.Reach = s.Reach(); client.Reach != model.ReachAll || s.Unknown != nil {
			client.Sidecar = s.Key()
		}
		if len(s.Ingress) > 0 || s.InboundPool != nil {
			server.Sidecar = s.Key()
		}
	}
	if proxy.Proxyless {
		client.Role, server.Role = model.RoleGRPCClient, model.RoleGRPCServer
		client.Proxy, server.Proxy = model.OwnProxy{}, model.OwnProxy{}
	}
	return []model.ProxyClass{client, server}
}

// withoutEdge leaves out what a sidecar has no use for, gatewayTopology: it must
// not set its pods apart.
func (c *Classifier) withoutEdge(said model.OwnProxy) model.OwnProxy {
	if !said.Said || c.mesh.Settings == nil {
		return said
	}
	if said.Edge = c.mesh.Settings.Edge; said.ProxySettings == c.mesh.Settings.ProxySettings {
		return model.OwnProxy{}
	}
	return said
}

// sidecarOf is the Sidecar of a workload, nil if it has none: one that selects
// it, else its namespace's, else that of the root namespace; the oldest of each.
// Source: istio.io/api networking/v1alpha3, message Sidecar, notes 1 and 2.
func (c *Classifier) sidecarOf(namespace string, labels map[string]string) *model.Sidecar {
	var own, wide, mesh *model.Sidecar
	for _, s := range c.sidecarsIn(namespace) {
		switch {
		case s.Selector == nil:
			wide = older(wide, s, sidecarRank)
		case model.Selects(s.Selector, labels):
			own = older(own, s, sidecarRank)
		}
	}
	if c.mesh != nil && c.mesh.Settings.RootNamespace != namespace {
		for _, s := range c.sidecarsIn(c.mesh.Settings.RootNamespace) {
			if s.Selector == nil {
				mesh = older(mesh, s, sidecarRank)
			}
		}
	}
	return cmp.Or(own, wide, mesh)
}

func (c *Classifier) sidecarsIn(namespace string) []*model.Sidecar {
	of, _ := c.scopes.Cell.Table().Get(namespace)
	return values(of)
}

func sidecarRank(s *model.Sidecar) string { return s.Rank }

// Classes is Classifier.Classes from nothing.
func Classes(mesh *model.Mesh, proxy model.Proxy) []model.ProxyClass {
	c := NewClassifier()
	c.Update(mesh)
	return c.Classes(proxy)
}

// root is the root namespace, whose EnvoyFilters are for all.
func (c *Classifier) root() string {
	if c.mesh == nil || c.mesh.Settings == nil {
		return ""
	}
	return c.mesh.Settings.RootNamespace
}

// filters reports whether an EnvoyFilter tells proxies of a role by a key.
func (c *Classifier) filters(role model.Role, ns, key string) bool {
	return has(&c.filter.Cell, string(role)+"|"+ns+"/"+key) || has(&c.filter.Cell, string(role)+"|"+c.root()+"/"+key)
}

// guards reports whether a security policy tells servers by a label.
func (c *Classifier) guards(ns, key string) bool {
	return has(&c.rights.Cell, ns+"/"+key) || has(&c.rights.Cell, c.root()+"/"+key) ||
		has(&c.tokens.Cell, ns+"/"+key) || has(&c.tokens.Cell, c.root()+"/"+key)
}

// metadata formats what EnvoyFilters ask of the proxy's node metadata.
func (c *Classifier) metadata(role model.Role, proxy model.Proxy) string {
	if c.filter.Table().Len() == 0 {
		return ""
	}
	out := map[string]string{}
	for k, v := range proxy.Metadata {
		if c.filters(role, proxy.Namespace, metadataKey+k) {
			out[url.QueryEscape(k)] = url.QueryEscape(v) // they may hold what parts labels
		}
	}
	return model.FormatLabels(out)
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

func keysIn(namespace string, selectors ...map[string]string) (keys []string) {
	for _, selector := range selectors {
		for k := range selector {
			if key := namespace + "/" + k; !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

func sourceKeys(vs *model.VirtualService) (keys []string) {
	add := func(s model.Scope) {
		for k := range s.SourceLabels {
			if !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
	}
	for _, route := range vs.HTTP {
		add(route.Scope)
	}
	for _, route := range slices.Concat(vs.TLS, vs.TCP) {
		add(route.Scope)
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
