package view

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
)

// bytesRule is one of the rules of a listener. The first that takes a
// connection decides; of rules with different owners that of the narrower
// server name goes before.
type bytesRule struct {
	names    []string       // server names; nil: any, and none
	to, from []netip.Prefix // nil: anywhere
	// owner are the server names of the gateway's server that the rule is of;
	// nil for any, and for sidecars.
	owner []string
	chain model.Chain // without its match
}

// anywhere and anyName stand, in a cell, for no prefix and no name.
var anywhere netip.Prefix

const anyName = "*"

// cell is a kind of connection that Envoy can tell from others: the longest
// prefix of its destination, the narrowest name, the longest prefix of its
// source, of those that some rule has.
type cell struct {
	to   netip.Prefix
	name string
	from netip.Prefix
}

// bytesChains makes filter chains that Envoy's own order gives the meaning of
// rules that hold in order. Envoy narrows down by destination, then by server
// name, then by source, with no way back; so it is settled here, for each
// combination of these that the rules name, which of them is the first to take
// it. Source: envoy.config.listener.v3.FilterChainMatch.
func bytesChains(rules []bytesRule) []model.Chain {
	m := &cells{rules: rules, takes: map[int][]cell{}}
	m.byTo = byPrefix(rules, func(r *bytesRule) []netip.Prefix { return r.to })
	for _, to := range slices.SortedFunc(maps.Keys(m.byTo), comparePrefix) {
		m.destination(to)
	}
	var out []model.Chain
	for i := range rules {
		out = append(out, m.chains(i)...)
	}
	return out
}

// cells is the state of bytesChains.
type cells struct {
	rules []bytesRule
	byTo  map[netip.Prefix][]int // rules by prefix of their destination
	takes map[int][]cell         // what each rule is the first to take
}

// byPrefix gives the rules of each prefix, and of anywhere.
func byPrefix(rules []bytesRule, of func(*bytesRule) []netip.Prefix) map[netip.Prefix][]int {
	out := map[netip.Prefix][]int{}
	for i := range rules {
		prefixes := of(&rules[i])
		if len(prefixes) == 0 {
			prefixes = []netip.Prefix{anywhere}
		}
		for _, p := range prefixes {
			out[p] = append(out[p], i)
		}
	}
	return out
}

func comparePrefix(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) }

// enclosing gives p and all wider prefixes, and anywhere.
func enclosing(p netip.Prefix) []netip.Prefix {
	out := []netip.Prefix{anywhere}
	if p != anywhere {
		for bits := p.Bits(); bits >= 0; bits-- {
			wider, err := p.Addr().Prefix(bits)
			if err == nil {
				out = append(out, wider)
			}
		}
	}
	return out
}

// destination settles what connections go to one prefix.
func (m *cells) destination(to netip.Prefix) {
	var here []int
	for _, wider := range enclosing(to) {
		here = append(here, m.byTo[wider]...)
	}
	byName := map[string][]int{}
	for _, i := range unique(here) {
		names := m.rules[i].names
		if len(names) == 0 {
			names = []string{anyName}
		}
		for _, name := range names {
			byName[name] = append(byName[name], i)
		}
	}
	settled := map[string]map[netip.Prefix]int{}
	names := slices.Sorted(maps.Keys(byName))
	for _, name := range names {
		settled[name] = m.sources(name, byName)
	}
	for _, name := range names {
		if redundant(name, settled) {
			continue
		}
		for from, i := range settled[name] {
			m.takes[i] = append(m.takes[i], cell{to, name, from})
		}
	}
}

func unique(in []int) []int {
	slices.Sort(in)
	return slices.Compact(in)
}

// redundant reports whether the next wider name that is told apart gives the
// same.
func redundant(name string, settled map[string]map[netip.Prefix]int) bool {
	for _, wider := range hostname.Wider(name)[1:] {
		if of, ok := settled[wider]; ok {
			return maps.Equal(of, settled[name])
		}
	}
	return false
}

// sources gives, for a name, the rule that takes each prefix of sources.
func (m *cells) sources(name string, byName map[string][]int) map[netip.Prefix]int {
	var candidates []int
	for _, wider := range hostname.Wider(name) {
		candidates = append(candidates, byName[wider]...)
	}
	candidates = unique(candidates)
	slices.SortStableFunc(candidates, func(a, b int) int { return m.rules[b].narrow(name) - m.rules[a].narrow(name) })
	if end := slices.IndexFunc(candidates, func(i int) bool { return len(m.rules[i].from) == 0 }); end >= 0 {
		candidates = candidates[:end+1] // no later one gets anything
	}
	out := map[netip.Prefix]int{}
	for _, i := range candidates {
		from := m.rules[i].from
		if len(from) == 0 {
			from = []netip.Prefix{anywhere}
		}
		for _, p := range from {
			if _, told := out[p]; !told {
				out[p] = m.first(candidates, p)
			}
		}
	}
	return out
}

// first is the first rule that takes all sources of a prefix.
func (m *cells) first(candidates []int, p netip.Prefix) int {
	wider := enclosing(p)
	for _, i := range candidates {
		if from := m.rules[i].from; len(from) == 0 || slices.ContainsFunc(from, func(f netip.Prefix) bool { return slices.Contains(wider, f) }) {
			return i
		}
	}
	return candidates[0] // not reached: p is of one of them
}

// narrow is how narrow the owner's server name is that covers name.
func (r *bytesRule) narrow(name string) int {
	for i, wider := range hostname.Wider(name) {
		if slices.Contains(r.owner, wider) {
			return 1<<10 - i
		}
	}
	return 0
}

// chains are those of one rule: what it takes, with cells that differ in the
// destination, or in the server name, put into one chain.
func (m *cells) chains(i int) (out []model.Chain) {
	type place struct{ to, from netip.Prefix }
	names := map[place][]string{}
	var places []place
	for _, c := range m.takes[i] {
		at := place{c.to, c.from}
		if names[at] == nil {
			places = append(places, at)
		}
		names[at] = append(names[at], c.name)
	}
	slices.SortFunc(places, func(a, b place) int {
		if by := comparePrefix(a.from, b.from); by != 0 {
			return by
		}
		return comparePrefix(a.to, b.to)
	})
	index := map[string]int{}
	for _, at := range places {
		for _, sni := range separate(names[at]) {
			key := fmt.Sprint(sni, at.from, at.to == anywhere)
			if j, ok := index[key]; ok {
				out[j].CIDRs = append(out[j].CIDRs, at.to.String())
				continue
			}
			chain := m.rules[i].chain
			chain.SNI, chain.Sources, chain.CIDRs = sni, cidrs(at.from), cidrs(at.to)
			chain.Name = chainName(chain)
			index[key] = len(out)
			out = append(out, chain)
		}
	}
	return out
}

// separate takes any name, which a chain says by having none, from the others.
func separate(names []string) (out [][]string) {
	slices.Sort(names)
	if i := slices.Index(names, anyName); i >= 0 {
		out, names = append(out, nil), slices.Delete(names, i, i+1)
	}
	if len(names) > 0 {
		out = append(out, names)
	}
	return out
}

func cidrs(p netip.Prefix) []string {
	if p == anywhere {
		return nil
	}
	return []string{p.String()}
}

// chainName is unique in a listener: what is the first to be told apart by one
// chain is so by no other.
func chainName(c model.Chain) string {
	var parts []string
	for _, list := range [][]string{c.CIDRs, c.SNI, c.Sources} {
		if len(list) > 0 {
			parts = append(parts, list[0])
		}
	}
	return strings.Join(parts, ",")
}
