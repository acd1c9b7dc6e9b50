package xds

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// Count says on how many proxies an object is in force, and who refused
// something of it. An agent's own stream, for DNS, is no proxy.
type Count struct {
	Proxies  int       `json:"proxies"` // that should have something of it
	Live     int       `json:"live"`    // that acknowledged all of it, in its newest form
	Refusals []Refusal `json:"refusals,omitempty"`
}

// Refusal is a resource of an object that a proxy refused (NACK).
type Refusal struct {
	Proxy    string `json:"proxy"` // POD.NAMESPACE
	Resource string `json:"resource"`
	Message  string `json:"message"`
}

// maxRefusals bounds those that are kept of one object.
const maxRefusals = 5

// Tally counts for every object on how many proxies it is live, at a cost that
// follows what changed since the last Update. It belongs to one goroutine.
type Tally struct {
	srv     *Server
	counted func(object string) bool
	classes map[*class]*contents
	groups  map[group]members
	late    map[string]*lateness // by object; those in order have none
}

// group is the classes of a proxy.
type group [3]*class

// members counts the proxies of a group.
type members struct{ proxies, starting int }

// contents counts the resources of each object in a class.
type contents struct {
	seen    map[string]table // by type, as counted
	objects map[string]int
}

// lateness is of an object that not all proxies have.
type lateness struct {
	proxies  int
	refusals []Refusal
}

// NewTally returns one that has counted nothing. It counts the objects
// ("Kind/namespace/name") for which counted is true.
func (s *Server) NewTally(counted func(object string) bool) *Tally {
	return &Tally{srv: s, counted: counted, classes: map[*class]*contents{}, groups: map[group]members{}, late: map[string]*lateness{}}
}

// Moved is signalled when there may be something for a Tally to count.
func (s *Server) Moved() <-chan struct{} { return s.moved }

func (s *Server) move() {
	select {
	case s.moved <- struct{}{}:
	default:
	}
}

// Of returns an object's count at the last Update.
func (t *Tally) Of(object string) (c Count) {
	for g, m := range t.groups {
		if t.has(g, object) {
			c.Proxies += m.proxies
			c.Live += m.proxies - m.starting
		}
	}
	if l := t.late[object]; l != nil {
		c.Live -= min(c.Live, l.proxies)
		c.Refusals = l.refusals
	}
	return c
}

func (t *Tally) has(g group, object string) bool {
	for _, c := range g {
		if c != nil && t.classes[c] != nil && t.classes[c].objects[object] > 0 {
			return true
		}
	}
	return false
}

// Update counts anew, and returns the objects whose count may differ.
func (t *Tally) Update() (touched map[string]struct{}) {
	touched = map[string]struct{}{}
	groups, late := map[group]members{}, map[string]*lateness{}
	for _, st := range t.srv.list() {
		t.stream(st, groups, late)
	}
	live := map[*class]*contents{}
	for g := range groups {
		for _, c := range g {
			if c != nil && live[c] == nil {
				live[c] = t.follow(c, touched)
			}
		}
	}
	for g := range union(t.groups, groups) {
		if t.groups[g] != groups[g] {
			t.touch(g, live, touched)
		}
	}
	for object := range union(t.late, late) {
		if was, now := t.late[object], late[object]; was == nil || now == nil || was.proxies != now.proxies || !slices.Equal(was.refusals, now.refusals) {
			touched[object] = struct{}{}
		}
	}
	t.classes, t.groups, t.late = live, groups, late
	return touched
}

// union holds the keys of both.
func union[K comparable, V any](a, b map[K]V) map[K]struct{} {
	out := make(map[K]struct{}, len(a)+len(b))
	for _, m := range []map[K]V{a, b} {
		for k := range m {
			out[k] = struct{}{}
		}
	}
	return out
}

// stream counts one stream.
func (t *Tally) stream(st *stream, groups map[group]members, late map[string]*lateness) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.watches[snapshot.Cluster] == nil {
		return
	}
	var g group
	copy(g[:], st.classes)
	m := groups[g]
	m.proxies++
	if st.starting(time.Now()) {
		m.starting++
	} else {
		t.lacks(st, late)
	}
	groups[g] = m
}

// startTime bounds how long a proxy may take to ask for its routes; one that
// does not ask by then needs none.
const startTime = 10 * time.Second

// starting reports whether the client has yet to ask for, or to take, its
// first configuration. s.mu is held.
func (s *stream) starting(now time.Time) bool {
	lds := s.watches[snapshot.Listener]
	if lds == nil || !lds.answered || lds.flight != nil && lds.lastAcked == "" {
		return true
	}
	if now.Sub(s.connected) > startTime {
		return false
	}
	for _, typeURL := range []string{snapshot.Route, snapshot.VirtualHost} {
		for _, c := range s.classes {
			if s.watches[typeURL] == nil && c.of(typeURL).Len() > 0 {
				return true
			}
		}
	}
	return false
}

// lacks notes the objects that a stream has not acknowledged all of.
func (t *Tally) lacks(st *stream, late map[string]*lateness) {
	seen := map[string]bool{}
	for typeURL, w := range st.watches {
		if w.denied {
			continue
		}
		for i, c := range st.classes {
			target := c.of(typeURL)
			if w.lanes[i].acked == target {
				continue
			}
			for ch := range memo.Diff(w.lanes[i].acked, target) {
				if ch.InNew && !snapshot.Same(ch.Old, ch.New) && st.wants(w, ch.Key) {
					t.lack(st, w.refused[ch.Key], ch.New, seen, late)
				}
			}
		}
	}
}

func (t *Tally) lack(st *stream, r refusal, res *snapshot.Resource, seen map[string]bool, late map[string]*lateness) {
	for _, object := range res.Sources {
		if !t.counted(object) {
			continue
		}
		l := late[object]
		if l == nil {
			l = &lateness{}
			late[object] = l
		}
		if !seen[object] {
			seen[object] = true
			l.proxies++
		}
		if r.version == res.Version {
			l.refuse(Refusal{Proxy: st.proxy.Name + "." + st.proxy.Namespace, Resource: res.Name, Message: r.message})
		}
	}
}

// refuse keeps the first refusals in the order of proxies.
func (l *lateness) refuse(r Refusal) {
	l.refusals = append(l.refusals, r)
	slices.SortFunc(l.refusals, func(a, b Refusal) int {
		return cmp.Or(strings.Compare(a.Proxy, b.Proxy), strings.Compare(a.Resource, b.Resource))
	})
	l.refusals = l.refusals[:min(len(l.refusals), maxRefusals)]
}

// follow counts what changed in a class.
func (t *Tally) follow(c *class, touched map[string]struct{}) *contents {
	src := t.classes[c]
	if src == nil {
		src = &contents{seen: map[string]table{}, objects: map[string]int{}}
	}
	for _, typeURL := range order {
		if typeURL == snapshot.Name {
			continue // for agents, not for proxies
		}
		now := c.of(typeURL)
		for ch := range memo.Diff(src.seen[typeURL], now) {
			if ch.InOld {
				t.add(src, ch.Old, -1, touched)
			}
			if ch.InNew {
				t.add(src, ch.New, 1, touched)
			}
		}
		src.seen[typeURL] = now
	}
	return src
}

func (t *Tally) add(src *contents, res *snapshot.Resource, by int, touched map[string]struct{}) {
	for _, object := range res.Sources {
		if !t.counted(object) {
			continue
		}
		touched[object] = struct{}{}
		if src.objects[object] += by; src.objects[object] == 0 {
			delete(src.objects, object)
		}
	}
}

// touch notes all objects of a group whose number of proxies changed.
func (t *Tally) touch(g group, live map[*class]*contents, touched map[string]struct{}) {
	for _, c := range g {
		for _, src := range []*contents{t.classes[c], live[c]} {
			if src == nil {
				continue
			}
			for object := range src.objects {
				touched[object] = struct{}{}
			}
		}
	}
}
