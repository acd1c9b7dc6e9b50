package compile

import (
	"fmt"
	"hash/fnv"
	"strconv"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// Addresses of ServiceEntries that have none are made from their namespace and
// host, so that every pilot gives the same without a state: a place in
// 240.240.0.0/16 (class E, which no network has), and one in 2001:2::/48 (RFC
// 5180) with the same number. Where two names fall on one place the older has
// it, and the other goes on to the next of its own, in rounds.
//
// Source: Istio, "DNS Proxying", address auto allocation.
const (
	allocatable = 256 * 254 // places: 240.240.0.1 to 240.240.255.254
	rounds      = 8
	stride      = 65011 // the largest prime below allocatable
)

// placements are the rounds of an allocation: who has a place, by its number.
type placements []*memo.Derived[memo.Table[*model.Service], *model.Service]

// allocate derives who has which place. What a new name costs does not depend
// on how many there are.
func allocate(g *memo.Graph, services *memo.Cell[*model.Service]) (out placements) {
	waiting := memo.Map(g, services, func(_ *memo.Reader, _ string, s *model.Service) (*model.Service, bool) { return s, s.Allocated })
	for round := range rounds {
		earlier := out
		claims := memo.Group(g, &waiting.Cell, func(key string, s *model.Service) []string { return []string{placeKey(s, round)} })
		won := memo.Map(g, &claims.Cell, func(r *memo.Reader, place string, all memo.Table[*model.Service]) (*model.Service, bool) {
			for _, before := range earlier {
				if _, taken := memo.Get(r, &before.Cell, place); taken {
					return nil, false
				}
			}
			return oldest(all), true
		})
		out = append(out, won)
		waiting = memo.Map(g, &waiting.Cell, func(r *memo.Reader, key string, s *model.Service) (*model.Service, bool) {
			has, _ := memo.Get(r, &won.Cell, placeKey(s, round))
			return s, has != s
		})
	}
	return out
}

func oldest(all memo.Table[*model.Service]) (first *model.Service) {
	for _, s := range all.All() {
		if first == nil || s.Rank < first.Rank {
			first = s
		}
	}
	return first
}

// addresses are those of a service; nil if every place was taken.
func (p placements) addresses(r *memo.Reader, key string, s *model.Service) []string {
	for round, won := range p {
		if has, ok := memo.Get(r, &won.Cell, placeKey(s, round)); ok && has.Key() == key {
			return placeAddresses(place(s, round))
		}
	}
	return nil
}

func placeKey(s *model.Service, round int) string { return strconv.Itoa(place(s, round)) }

// place is the number of a name's place in a round, by double hashing.
func place(s *model.Service, round int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s.Namespace + "/" + s.Host))
	sum := uint64(h.Sum32())
	return int((sum + uint64(round)*(stride-sum%stride)) % allocatable)
}

// placeAddresses avoid 0 and 255 as last numbers: some take them for a network
// and a broadcast.
func placeAddresses(n int) []string {
	a, b := n/254, n%254+1
	return []string{fmt.Sprintf("240.240.%d.%d", a, b), fmt.Sprintf("2001:2::f0f0:%x", a<<8|b)}
}
