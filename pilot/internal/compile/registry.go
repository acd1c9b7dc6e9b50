package compile

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// registry are the tables of services, from Kubernetes and from
// ServiceEntries, and of what stands behind them.
type registry struct {
	kube      *kind[model.Service] // Kubernetes' own
	entries   *kind[entry]
	entriesOf *memo.Grouped[*entry]                             // by host
	declared  *memo.Derived[memo.Table[*entry], *model.Service] // of entries
	plain     *memo.Union[*model.Service]                       // both, before aliases and addresses
	aliases   *memo.Derived[*model.Service, *alias]             // by host of the ExternalName
	aliasesOf *memo.Grouped[*alias]                             // by host that they stand for
	places    placements
	services  *memo.Derived[*model.Service, *model.Service]

	slices    *kind[slice]
	byService *memo.Grouped[*slice]
	outsiders *kind[outsider]
	groups    *kind[group]
	endpoints *memo.Derived[*model.Service, *model.Endpoints]
}

// seenBy notes on the first of a host's services which of them the root
// namespace sees.
func seenBy(root string, services []*model.Service) {
	var seen []*model.Service
	for _, s := range services {
		if s.ExportTo.Sees(s.Namespace, root) {
			seen = append(seen, s)
		}
	}
	if len(services) == 0 {
		return
	}
	if first := services[0]; len(seen) != 1 {
		first.Hidden = true
	} else if seen[0] != first {
		first.Seen = seen[0].Namespace
	}
}

// alias is an ExternalName whose target is a service of the mesh.
type alias struct{ host, target string }

func (c *Compiler) register() {
	c.kube = addKind(c, config.Service, compileService, func(s *model.Service) string { return s.Host })
	c.entries = addKind(c, config.ServiceEntry, compileServiceEntry, func(e *entry) string { return e.key })
	c.entries.check = checkEntry
	c.entriesOf = memo.Group(&c.graph, &c.entries.values.Cell, func(_ string, e *entry) []string { return e.hosts })
	c.declared = memo.Flat(&c.graph, &c.entriesOf.Cell, func(r *memo.Reader, host string, all memo.Table[*entry], emit memo.Emit[*model.Service]) {
		_, taken := memo.Get(r, &c.kube.values.Cell, host)
		if taken {
			return // the entry decorates the Service (Istio, ServiceEntry.hosts, note 2)
		}
		services := declare(host, all)
		for i, s := range services {
			s.Rival, s.Contested = i > 0, i == 0 && len(services) > 1
		}
		seenBy(scope{r: r, c: c}.settings().RootNamespace, services)
		for _, s := range services {
			emit(s.Key(), s)
		}
	}, memo.Same(equal[*model.Service]))
	c.plain = memo.NewUnion(&c.graph, &c.kube.values.Cell, &c.declared.Cell)
	c.aliases = memo.Map(&c.graph, &c.kube.values.Cell, func(r *memo.Reader, host string, s *model.Service) (*alias, bool) {
		target := finalTarget(r, &c.plain.Cell, s)
		return &alias{host, target}, target != ""
	}, memo.Same(equal[*alias]))
	c.aliasesOf = memo.Group(&c.graph, &c.aliases.Cell, func(_ string, a *alias) []string { return []string{a.target} })
	c.places = allocate(&c.graph, &c.plain.Cell)
	c.services = memo.Map(&c.graph, &c.plain.Cell, func(r *memo.Reader, key string, s *model.Service) (*model.Service, bool) {
		return c.complete(r, key, s), true
	}, memo.Same(equal[*model.Service]))

	c.slices = addKind(c, config.EndpointSlice, compileSlice, func(s *slice) string { return s.key })
	c.byService = memo.Group(&c.graph, &c.slices.values.Cell, func(_ string, s *slice) []string { return []string{s.host} })
	c.outsiders = addKind(c, config.WorkloadEntry, compileWorkloadEntry, func(w *outsider) string { return w.key })
	c.groups = addKind(c, config.WorkloadGroup, compileWorkloadGroup, func(g *group) string { return g.key })
	members := c.members()
	c.endpoints = memo.Map(&c.graph, &c.services.Cell, func(r *memo.Reader, key string, s *model.Service) (*model.Endpoints, bool) {
		of := func(key string) memo.Table[*outsider] {
			selected, _ := memo.Get(r, &members.Cell, key)
			return selected
		}
		if s.Origin != "" {
			all, _ := memo.Get(r, &c.entriesOf.Cell, s.Host)
			return entryEndpoints(s, all, func(e *entry) memo.Table[*outsider] { return of(e.key) })
		}
		selected := of(key)
		parts, _ := memo.Get(r, &c.byService.Cell, s.Host)
		return joinSlices(s, parts, selected)
	}, memo.Same(equal[*model.Endpoints]))
}

// finalTarget follows an ExternalName to the service of the mesh that it
// stands for; "" if there is none. A circle has no end.
func finalTarget(r *memo.Reader, services *memo.Cell[*model.Service], s *model.Service) string {
	const most = 8
	for range most {
		if s.External == "" {
			return ""
		}
		next, ok := memo.Get(r, services, s.External)
		if !ok {
			return ""
		}
		if next.External == "" {
			return next.Host
		}
		s = next
	}
	return ""
}

// complete adds to a service what other objects say of it.
func (c *Compiler) complete(r *memo.Reader, key string, s *model.Service) *model.Service {
	if a, ok := memo.Get(r, &c.aliases.Cell, key); ok {
		out := *s
		out.AliasOf, out.Ports, out.Resolve = a.target, nil, model.ResolveEndpoints
		return &out
	}
	out := *s
	if known, ok := memo.Get(r, &c.aliasesOf.Cell, key); ok {
		for _, a := range known.All() {
			out.Aliases = append(out.Aliases, a.host)
		}
	}
	if s.Allocated {
		out.Addresses = c.places.addresses(r, key, s)
	}
	if s.Origin == "" {
		settings := scope{r: r, c: c}.settings()
		decorations, _ := memo.Get(r, &c.entriesOf.Cell, s.Host)
		for _, e := range decorations.All() {
			if e.decorates(s, settings) {
				out.SANs = append(out.SANs, e.sans...)
			}
		}
		slices.Sort(out.SANs)
		out.SANs = slices.Compact(out.SANs)
	}
	return &out
}

// chooser is what selects workloads of its namespace: a Service of Kubernetes,
// or a ServiceEntry.
type chooser struct {
	namespace string
	selector  map[string]string
	entry     bool
}

// choosers derives them, by the host of the Service and the key of the entry.
func (c *Compiler) choosers() *memo.Union[*chooser] {
	same := memo.Same(equal[*chooser])
	services := memo.Map(&c.graph, &c.kube.values.Cell, func(_ *memo.Reader, _ string, s *model.Service) (*chooser, bool) {
		return &chooser{s.Namespace, s.Selector, false}, s.Selector != nil && s.External == ""
	}, same)
	entries := memo.Map(&c.graph, &c.entries.values.Cell, func(_ *memo.Reader, _ string, e *entry) (*chooser, bool) {
		return &chooser{e.namespace, e.selector, true}, e.selector != nil
	}, same)
	return memo.NewUnion(&c.graph, &services.Cell, &entries.Cell)
}

// members derives what selectors select besides the endpoints that Kubernetes
// itself knows: WorkloadEntries of Services and ServiceEntries, and pods of
// ServiceEntries. They are grouped by the key of the chooser.
func (c *Compiler) members() *memo.Grouped[*outsider] {
	choosers := c.choosers()
	selectors := memo.Group(&c.graph, &choosers.Cell, func(_ string, s *chooser) []string { return []string{s.index()} })
	byNamespace := memo.Group(&c.graph, &choosers.Cell, func(_ string, s *chooser) []string {
		if !s.entry {
			return nil
		}
		return []string{s.namespace}
	})
	join := func(r *memo.Reader, w *outsider, pod bool, emit memo.Emit[*outsider]) {
		for _, label := range append([]string{""}, labelKeys(w.labels)...) {
			group, _ := memo.Get(r, &selectors.Cell, w.namespace+"/"+label)
			for key, s := range group.All() {
				if (s.entry || !pod) && model.Selects(s.selector, w.labels) {
					emit(key+"\x00"+w.key, w)
				}
			}
		}
	}
	same := memo.Same(equal[*outsider])
	entries := memo.Flat(&c.graph, &c.outsiders.values.Cell, func(r *memo.Reader, _ string, w *outsider, emit memo.Emit[*outsider]) {
		join(r, w, false, emit)
	}, same)
	pods := memo.Flat(&c.graph, c.input(config.Pod), func(r *memo.Reader, _ string, o *config.Object, emit memo.Emit[*outsider]) {
		if _, any := memo.Get(r, &byNamespace.Cell, o.Namespace); !any {
			return
		}
		if w := podOutsider(o, scope{r: r, c: c}); w != nil {
			join(r, w, true, emit)
		}
	}, same)
	all := memo.NewUnion(&c.graph, &entries.Cell, &pods.Cell)
	return memo.Group(&c.graph, &all.Cell, func(key string, _ *outsider) []string {
		chooser, _, _ := strings.Cut(key, "\x00")
		return []string{chooser}
	})
}

// index is the key of a selector: one of its labels, the first by key, so that a
// workload finds all that may select it by its own labels.
func (s *chooser) index() string {
	keys := labelKeys(s.selector)
	if len(keys) == 0 {
		return s.namespace + "/"
	}
	return s.namespace + "/" + keys[0]
}

// labelKeys are labels as "key=value", sorted.
func labelKeys(labels map[string]string) (out []string) {
	for k, v := range labels {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}
