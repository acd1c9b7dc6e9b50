package dashboard

import (
	"slices"
	"time"

	"github.com/weftmesh/weft/internal/figures"
)

// kept is how far back figures go.
const kept = time.Hour

// maxFlows bounds what is kept of all looks: a flow of one proxy takes about a
// kilobyte in each. Of larger meshes there are fewer looks, two at least.
const maxFlows = 150_000

// memory is what was seen. Time is the looks' own.
type memory struct {
	looks  []Look // oldest first, the sparser the older
	failed string // why the newest look failed
	since  map[host]time.Time
	past   past
}

// host names one that is left out.
type host struct{ service, port, subset, address string }

func newMemory() memory { return memory{since: map[host]time.Time{}, past: newPast()} }

// add takes a look that is newer than all before; another is not kept, since
// nothing can be counted from it.
func (m *memory) add(l Look) {
	if n := len(m.looks); n > 0 && !l.At.After(m.looks[n-1].At) {
		m.looks = nil // a clock that went back
	}
	if n := len(m.looks); n > 0 { // only what is so now is read of these
		m.looks[n-1].Overflows, m.looks[n-1].Ejected = nil, nil
	}
	m.looks = bounded(thinned(append(m.looks, l), l.At), maxFlows)
	before := m.since
	m.since = map[host]time.Time{}
	for _, e := range l.Ejected {
		h := host{e.Service, e.Port, e.Subset, e.Address}
		m.since[h] = began(e, before[h], l.At)
	}
	m.past.add(l)
}

// began is when a host was left out first: agents know; else since it was seen.
func began(e Ejection, seen, now time.Time) (out time.Time) {
	for _, by := range e.By {
		if !by.Since.IsZero() && (out.IsZero() || by.Since.Before(out)) {
			out = by.Since
		}
	}
	switch {
	case !out.IsZero():
		return out
	case !seen.IsZero():
		return seen
	}
	return now
}

// thinned forgets looks of more than an hour ago, save one to begin it with, and
// those whose neighbours are near, as their age goes: what remains grows with the
// logarithm of the time, and every window begins at most a quarter off.
func thinned(looks []Look, now time.Time) []Look {
	for len(looks) > 2 && now.Sub(looks[1].At) >= kept {
		looks = looks[1:]
	}
	for i := len(looks) - 2; i > 0; i-- {
		if gap := looks[i+1].At.Sub(looks[i-1].At); gap < now.Sub(looks[i].At)/4 {
			looks = slices.Delete(looks, i, i+1)
		}
	}
	return looks
}

// bounded leaves out every second look, but for the first and the last, until
// all have so many flows at most.
func bounded(looks []Look, atMost int) []Look {
	flows := func() (n int) {
		for _, l := range looks {
			for _, s := range l.Samples {
				n += len(s.Flows)
			}
		}
		return n
	}
	for len(looks) > 2 && flows() > atMost {
		last, kept := len(looks)-1, []Look(nil)
		for i, l := range looks {
			if i%2 == 0 && i != last-1 || i == last {
				kept = append(kept, l)
			}
		}
		looks = kept
	}
	return looks
}

// from is the first look that a window begins with: the newest that is as old,
// or the oldest of all.
func (m *memory) from(window time.Duration) []Look {
	newest := len(m.looks) - 1
	for i := newest - 1; i >= 0; i-- {
		if i == 0 || m.looks[newest].At.Sub(m.looks[i].At) >= window {
			return m.looks[i:]
		}
	}
	return m.looks
}

// counted is what the proxies counted from the first look to the last.
func counted(looks []Look) []figures.Delta {
	var before []figures.Samples
	for _, l := range looks[:len(looks)-1] {
		before = append(before, l.Samples)
	}
	return looks[len(looks)-1].Samples.Since(before...)
}

func (m *memory) now(mesh Mesh, window time.Duration) Now {
	out := Now{Mesh: mesh, Failed: m.failed}
	var pods []figures.Pod
	var deltas []figures.Delta
	if looks := m.from(window); len(looks) > 0 {
		last := looks[len(looks)-1]
		pods, deltas = last.Pods, counted(looks)
		out.At, out.Seconds = last.At, last.At.Sub(looks[0].At).Seconds()
		out.Missing, out.Inventory = last.Missing, last.Inventory
		for _, e := range last.Ejected {
			e.Since = m.since[host{e.Service, e.Port, e.Subset, e.Address}]
			out.Ejected = append(out.Ejected, e)
		}
	}
	if n := len(m.looks); n > 0 {
		out.Overflows = m.looks[n-1].Overflows
	}
	rows := func(k figures.Kind) []figures.Row { return some(figures.Rows(k, pods, deltas)) }
	out.Workloads, out.Pods, out.Services, out.Routes = rows(figures.Workloads), rows(figures.Pods), rows(figures.Services), rows(figures.Routes)
	out.Edges, out.Missing, out.Inventory, out.Ejected = some(figures.Edges(deltas)), some(out.Missing), some(out.Inventory), some(out.Ejected)
	out.Overflows, out.Callers = some(out.Overflows), some(figures.Callers(deltas))
	return out
}
