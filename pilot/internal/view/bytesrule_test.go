package view

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
)

// TestBytesChainsKeepTheOrder holds the chains of random rules, chosen as Envoy
// does, to the rules taken one after another.
func TestBytesChainsKeepTheOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 3000 {
		rules := randomRules(rnd)
		chains := bytesChains(rules)
		if again := bytesChains(rules); !reflect.DeepEqual(chains, again) {
			t.Fatalf("%v\ngive %v, and then %v", rules, chains, again)
		}
		for range 20 {
			to, from, name := randomAddr(rnd), randomAddr(rnd), pick(rnd, "", "a", "x.a", "y.x.a", "b")
			if got, want := byEnvoy(chains, to, name, from), inOrder(rules, to, name, from); got != want {
				t.Fatalf("round %d: %v asking %q of %v is taken by %q, want %q\nrules %+v\nchains %+v", round, from, name, to, got, want, rules, chains)
			}
		}
	}
}

func pick[T any](rnd *rand.Rand, of ...T) T { return of[rnd.IntN(len(of))] }

func randomRules(rnd *rand.Rand) (out []bytesRule) {
	prefixes := func() (out []netip.Prefix) {
		for range rnd.IntN(3) {
			out = append(out, pick(rnd, netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.1.1.1/32"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("0.0.0.0/0")))
		}
		return out
	}
	for i := range 1 + rnd.IntN(5) {
		rule := bytesRule{to: prefixes(), from: prefixes(), chain: model.Chain{Origin: model.Origin(fmt.Sprint(i))}}
		for range rnd.IntN(3) {
			if name := pick(rnd, "a", "*.a", "x.a", "*.x.a", "b"); !slices.Contains(rule.names, name) {
				rule.names = append(rule.names, name)
			}
		}
		out = append(out, rule)
	}
	return out
}

func randomAddr(rnd *rand.Rand) netip.Addr {
	return netip.MustParseAddr(pick(rnd, "10.1.1.1", "10.1.1.2", "10.2.0.1", "192.168.0.1", "fd00::1"))
}

func holds(all []netip.Prefix, a netip.Addr) bool {
	return len(all) == 0 || slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(a) })
}

func inOrder(rules []bytesRule, to netip.Addr, name string, from netip.Addr) model.Origin {
	for _, r := range rules {
		named := len(r.names) == 0 || slices.ContainsFunc(r.names, func(n string) bool { return hostname.Covers(n, name) })
		if named && holds(r.to, to) && holds(r.from, from) {
			return r.chain.Origin
		}
	}
	return ""
}

// byEnvoy narrows the chains down by one criterion after another: those stay
// that are the most specific, and there is no way back.
func byEnvoy(chains []model.Chain, to netip.Addr, name string, from netip.Addr) model.Origin {
	longest := func(cidrs []string, a netip.Addr) int {
		all := networks(cidrs)
		best := -1
		for _, p := range all {
			if p.Contains(a) {
				best = max(best, p.Bits()+1)
			}
		}
		if len(all) == 0 {
			return 0
		}
		return best
	}
	chains = narrowed(chains, func(c model.Chain) int { return longest(c.CIDRs, to) })
	chains = narrowed(chains, func(c model.Chain) int {
		best := -1
		for _, n := range c.SNI {
			if hostname.Covers(n, name) {
				best = max(best, len(n)*2)
				if n == name {
					best = 1000
				}
			}
		}
		if len(c.SNI) == 0 {
			return 0
		}
		return best
	})
	chains = narrowed(chains, func(c model.Chain) int { return longest(c.Sources, from) })
	switch len(chains) {
	case 0:
		return ""
	case 1:
		return chains[0].Origin
	}
	return model.Origin(fmt.Sprintf("several: %+v", chains))
}

func narrowed(chains []model.Chain, rank func(model.Chain) int) (out []model.Chain) {
	best := 0
	for _, c := range chains {
		switch r := rank(c); {
		case r > best:
			best, out = r, []model.Chain{c}
		case r == best:
			out = append(out, c)
		}
	}
	return out
}

// TestOwnersNameGoesBefore: of two servers of a gateway the narrower name
// decides, whichever comes first.
func TestOwnersNameGoesBefore(t *testing.T) {
	wide := bytesRule{names: []string{"*.a"}, owner: []string{"*.a"}, chain: model.Chain{Origin: "wide"}}
	narrow := bytesRule{names: []string{"x.a"}, owner: []string{"x.a"}, chain: model.Chain{Origin: "narrow"}}
	anyone := bytesRule{chain: model.Chain{Origin: "any"}}
	chains := bytesChains([]bytesRule{anyone, wide, narrow})
	for name, want := range map[string]model.Origin{"x.a": "narrow", "y.a": "wide", "b": "any"} {
		if got := byEnvoy(chains, netip.MustParseAddr("10.0.0.1"), name, netip.MustParseAddr("10.0.0.2")); got != want {
			t.Errorf("%s is taken by %s, want %s", name, got, want)
		}
	}
}

// BenchmarkBytesChains: 1,000 server names, one rule each.
func BenchmarkBytesChains(b *testing.B) {
	var rules []bytesRule
	for i := range 1000 {
		rules = append(rules, bytesRule{names: []string{fmt.Sprintf("host-%d.example.com", i)}})
	}
	for b.Loop() {
		bytesChains(rules)
	}
}
