package translate

import (
	"slices"
	"strings"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/patch"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// families are the types of resources that EnvoyFilters edit.
var families = map[string]patch.Family{
	snapshot.Listener: patch.Listeners, snapshot.Route: patch.Tables, snapshot.VirtualHost: patch.Hosts,
	snapshot.Cluster: patch.Clusters, snapshot.Extension: patch.Extensions,
}

// patchLists reads the EnvoyFilters of the class, each once, and gives their
// patches by patch's keys, in the order in which they are applied.
func patchLists(t *Translator) *memo.Derived[memo.Table[*patch.List], *patch.List] {
	each := memo.Flat(t.graph, &t.in.filters.Cell, func(r *memo.Reader, filter string, f *model.EnvoyFilter, emit memo.Emit[*patch.List]) {
		sh, _ := memo.Get(r, &t.in.shared.Cell, "")
		for key, list := range patch.Read(f, sh.RootNamespace) {
			emit(key+"\x00"+filter, list)
		}
	}, memo.Same(patch.Same))
	byKey := memo.Group(t.graph, &each.Cell, func(key string, _ *patch.List) []string {
		key, _, _ = strings.Cut(key, "\x00")
		return []string{key}
	})
	return memo.Map(t.graph, &byKey.Cell, func(_ *memo.Reader, _ string, lists memo.Table[*patch.List]) (*patch.List, bool) {
		var all []*patch.List
		for _, l := range lists.All() {
			all = append(all, l)
		}
		return patch.Join(all...), true
	}, memo.Same(patch.Same))
}

// patchesOf gives the patches that may be for a resource; nil: there are none.
func (t *Translator) patchesOf(r *memo.Reader, family patch.Family, name string, at patch.Target) *patch.List {
	var all []*patch.List
	for _, key := range patch.Keys(family, name, at) {
		if list, ok := memo.Get(r, &t.patches.Cell, key); ok {
			all = append(all, list)
		}
	}
	return patch.Join(all...)
}

// finish is the last of a message's stages: it is edited as EnvoyFilters say,
// checked and serialised.
func (t *Translator) finish(r *memo.Reader, b *builder, typeURL string, m message) rendered {
	if m.written == nil {
		b.buffers(m.body)
	}
	plain := b.render(typeURL, m)
	family := families[typeURL]
	if !b.patched || family == "" {
		return plain
	}
	at := m.facts
	at.Message, at.Role = m.body, b.class.Role
	list := t.patchesOf(r, family, m.name, at)
	if list.Empty() || plain.noted != nil {
		return plain
	}
	at.Message = rejoined(plain.resource.Body, m.body)
	got := list.Apply(at)
	said := &notes{hits: got.Hits, faults: got.Faults, gone: len(got.Hits) > 0 && got.Message == nil}
	if len(got.Hits) == 0 || said.gone {
		return rendered{resource: plain.resource, noted: said}
	}
	body, _ := got.Message.(validated)
	out := b.render(typeURL, message{name: m.name, body: body, sources: withHits(m.sources, got.Hits)})
	said.problem, out.noted, out.resource.Plain = out.notes().problem, said, plain.resource
	return out
}

// withHits adds the EnvoyFilters to the objects that a resource is made from.
func withHits(sources []string, hits []patch.Hit) []string {
	out := slices.Clone(sources)
	for _, h := range hits {
		if !slices.Contains(out, h.Source) {
			out = append(out, h.Source)
		}
	}
	return out
}

// addPatched adds to an output the resources that EnvoyFilters make.
func (t *Translator) addPatched(o *output) {
	var made *memo.Cell[rendered]
	switch families[o.typeURL] {
	case patch.Listeners, patch.Clusters, patch.Extensions:
		made = t.added(o.typeURL, o.parts)
	case patch.Hosts:
		made = t.addedHosts(o.parts)
	default:
		return
	}
	o.parts, o.seen = append(o.parts, made), append(o.seen, memo.Table[rendered]{})
}

// added makes the listeners, clusters and extensions that patches add. others
// are those that there are without them.
func (t *Translator) added(typeURL string, others []*memo.Cell[rendered]) *memo.Cell[rendered] {
	additions := families[typeURL].Additions()
	d := memo.Flat(t.graph, &t.patches.Cell, func(r *memo.Reader, key string, list *patch.List, emit memo.Emit[rendered]) {
		if key != additions {
			return
		}
		sh, _ := memo.Get(r, &t.in.shared.Cell, "")
		at := patch.Place{Role: sh.class.Role, Taken: func(name string) bool { return taken(r, others, name) }}
		for _, a := range list.Added(at) {
			t.builder(r).emitAdded(typeURL, a.Name, a, emit)
		}
	}, memo.Same(sameRendered))
	return &d.Cell
}

func taken(r *memo.Reader, others []*memo.Cell[rendered], name string) bool {
	return slices.ContainsFunc(others, func(c *memo.Cell[rendered]) bool {
		res, ok := memo.Get(r, c, name)
		return ok && !res.notes().gone
	})
}

// addedHosts makes the virtual hosts that patches add to route tables.
func (t *Translator) addedHosts(others []*memo.Cell[rendered]) *memo.Cell[rendered] {
	d := memo.Flat(t.graph, &t.in.tables.Cell, func(r *memo.Reader, table string, _ *model.RouteTable, emit memo.Emit[rendered]) {
		sh, _ := memo.Get(r, &t.in.shared.Cell, "")
		b := t.builder(r)
		at := patch.Place{
			Role: sh.class.Role, Table: table, Taken: func(name string) bool { return taken(r, others, table+"/"+name) },
			Domain: func(domain string) bool { return t.hasDomain(r, table, domain) },
		}
		list, _ := memo.Get(r, &t.patches.Cell, patch.Hosts.Additions())
		for _, a := range list.Added(at) {
			name := table + "/" + a.Name
			if vh, ok := a.Message.(*route.VirtualHost); ok {
				vh, _ = proto.Clone(vh).(*route.VirtualHost)
				vh.Name, a.Message = name, vh
			}
			b.emitAdded(snapshot.VirtualHost, name, a, emit)
		}
	}, memo.Same(sameRendered))
	return &d.Cell
}

// hasDomain reports whether a virtual host of a table has a domain.
func (t *Translator) hasDomain(r *memo.Reader, table, domain string) bool {
	for _, h := range memo.All(r, &t.in.hosts.Cell).Prefix(table + "/") {
		if slices.Contains(h.Domains, domain) {
			return true
		}
	}
	return false
}

func (b *builder) emitAdded(typeURL, name string, a patch.Addition, emit memo.Emit[rendered]) {
	if a.Fault != nil {
		// Under a name of its own: the resource of this name is another's.
		emit("\x00"+a.Hit.Source+"\x00"+name, rendered{
			resource: &snapshot.Resource{Type: typeURL, Name: name}, noted: &notes{gone: true, hits: []patch.Hit{a.Hit}, faults: []patch.Fault{*a.Fault}},
		})
		return
	}
	body, _ := a.Message.(validated)
	out := b.render(typeURL, message{name: name, body: body, sources: []string{a.Hit.Source}})
	out.noted = &notes{problem: out.notes().problem, hits: []patch.Hit{a.Hit}}
	emit(name, out)
}

// noteChain keeps what a filter chain is for, where the listener's matcher says
// so.
func (b *builder) noteChain(name string, port uint32, tls, http bool) {
	if !b.patched {
		return
	}
	c := patch.Chain{Port: port, Transport: "raw_buffer"}
	switch {
	case tls && http:
		c.Transport, c.Protocols = "tls", []string{"h2", "http/1.1", "http/1.0", "istio", "istio-peer-exchange", "istio-h2", "istio-http/1.1", "istio-http/1.0"}
	case tls:
		c.Transport, c.Protocols = "tls", []string{"istio", "istio-peer-exchange"}
	case http:
		c.Protocols = []string{"http/1.0", "http/1.1", "h2c"}
	}
	if b.chains == nil {
		b.chains = map[string]patch.Chain{}
	}
	b.chains[name] = c
}

// Edited returns which patches of EnvoyFilters edited anything, or were kept
// from it.
func (t *Translator) Edited() map[patch.Hit]bool {
	out := map[patch.Hit]bool{}
	for _, o := range t.outs {
		for _, seen := range o.seen {
			for _, r := range seen.All() {
				for _, h := range r.notes().hits {
					out[h] = true
				}
				for _, f := range r.notes().faults {
					out[patch.Hit{Source: f.Source, Index: f.Index}] = true
				}
			}
		}
	}
	return out
}
