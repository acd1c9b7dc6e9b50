package view

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// mesh is the name by which a VirtualService or a match means all sidecars.
const meshGateway = "mesh"

// wild is the group key of everything whose host has a wildcard.
const wild = "*"

// covers reports whether host, which may itself be a wildcard, lies within
// pattern: "*" covers all, "*.shop" covers "a.shop" and "*.a.shop".
func covers(pattern, host string) bool {
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(strings.TrimPrefix(host, "*"), suffix) && (suffix == "" || len(host) > len(suffix))
	}
	return pattern == host
}

// intersect returns the narrower of two hosts if one covers the other.
func intersect(a, b string) (string, bool) {
	switch {
	case covers(b, a):
		return a, true
	case covers(a, b):
		return b, true
	}
	return "", false
}

// hostKeys are the groups of something with these hosts: each exact host, and
// wild for all with a wildcard.
func hostKeys(hosts []string) []string {
	keys := make([]string, 0, len(hosts))
	for _, h := range hosts {
		if strings.HasPrefix(h, "*") {
			h = wild
		}
		if !slices.Contains(keys, h) {
			keys = append(keys, h)
		}
	}
	return keys
}

// members reads a group as a slice, ordered by rank.
func members[V comparable](r *memo.Reader, groups *memo.Grouped[V], key string, rank func(V) string) []V {
	table, ok := memo.Get(r, &groups.Cell, key)
	if !ok {
		return nil
	}
	out := make([]V, 0, table.Len())
	for _, v := range table.All() {
		out = append(out, v)
	}
	slices.SortStableFunc(out, func(a, b V) int { return strings.Compare(rank(a), rank(b)) })
	return out
}

func rankOf(vs *model.VirtualService) string { return vs.Rank }

func policyRank(p *model.Policy) string { return p.Rank }

// mostSpecific returns the longest of hosts with a wildcard that covers host;
// empty if none does.
func mostSpecific(hosts []string, host string) (best string) {
	for _, h := range hosts {
		if strings.HasPrefix(h, "*") && len(h) > len(best) && covers(h, host) {
			best = h
		}
	}
	return best
}
