package xds

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// Nack is one refusal by a proxy.
type Nack struct {
	Time      time.Time `json:"time"`
	Proxy     string    `json:"proxy"` // POD.NAMESPACE
	Namespace string    `json:"namespace"`
	Type      string    `json:"type"`
	// Resources are the culprits; empty while they are being looked for.
	Resources []string `json:"resources,omitempty"`
	Objects   []string `json:"objects,omitempty"` // Kind/namespace/name
	Message   string   `json:"message"`
}

// nackLog keeps the last refusals.
type nackLog struct {
	mu   sync.Mutex
	last []Nack // oldest first
}

const keptNacks = 500

func (l *nackLog) note(p model.Proxy, w *watch, f *flight, culprits []item, message string) {
	n := Nack{Time: time.Now(), Proxy: p.Name + "." + p.Namespace, Namespace: p.Namespace, Type: shortType(w.typeURL), Message: message}
	if f.rollback {
		n.Message = "the roll-back was refused too: " + message
	}
	for _, it := range culprits {
		n.Resources = append(n.Resources, it.name())
		n.Objects = append(n.Objects, sources(it)...)
	}
	slices.Sort(n.Objects)
	n.Objects = slices.Compact(n.Objects)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.last) >= keptNacks {
		l.last = slices.Delete(l.last, 0, len(l.last)-keptNacks+1)
	}
	l.last = append(l.last, n)
}

// Nacks returns the last refusals, oldest first.
func (s *Server) Nacks() []Nack {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return slices.Clone(s.log.last)
}

// TypeState is what one stream has of one type.
type TypeState struct {
	Type    string `json:"type"`
	Sent    string `json:"sent"`  // nonce of the last answer
	Acked   string `json:"acked"` // nonce of the last acknowledged one
	Synced  bool   `json:"synced"`
	Refused []Held `json:"refused,omitempty"`
}

// Held is a resource that a proxy refused, which has an older version or none.
type Held struct {
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
	// Objects that the resource is made of: Kind/namespace/name.
	Objects []string `json:"objects,omitempty"`
}

// StreamState is one stream.
type StreamState struct {
	ID        uint64             `json:"id"`
	Proxy     model.Proxy        `json:"proxy"`
	Classes   []model.ProxyClass `json:"classes"`
	Connected time.Time          `json:"connected"`
	Types     []TypeState        `json:"types"`
}

// Streams returns the state of all streams, by proxy and id.
func (s *Server) Streams() []StreamState {
	list := s.list()
	out := make([]StreamState, 0, len(list))
	for _, st := range list {
		out = append(out, st.state())
	}
	slices.SortFunc(out, func(a, b StreamState) int {
		return cmp.Or(strings.Compare(a.Proxy.ID, b.Proxy.ID), cmp.Compare(a.ID, b.ID))
	})
	return out
}

func (s *Server) list() []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*stream, 0, len(s.streams))
	for _, st := range s.streams {
		out = append(out, st)
	}
	return out
}

func (s *stream) state() StreamState {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := StreamState{ID: s.id, Proxy: s.proxy, Connected: s.connected}
	for _, c := range s.classes {
		out.Classes = append(out.Classes, c.key)
	}
	for _, typeURL := range order {
		w := s.watches[typeURL]
		if w == nil {
			continue
		}
		t := TypeState{Type: typeURL, Sent: w.lastSent, Acked: w.lastAcked, Synced: w.answered && !s.unsettled(w) && len(w.refused) == 0}
		for name, r := range w.refused {
			t.Refused = append(t.Refused, Held{Name: name, Version: r.version, Message: r.message, Since: r.at, Objects: s.madeOf(typeURL, name)})
		}
		slices.SortFunc(t.Refused, func(a, b Held) int { return strings.Compare(a.Name, b.Name) })
		out.Types = append(out.Types, t)
	}
	return out
}

// madeOf returns the objects that a resource, as it is offered, is made of. s.mu
// is held.
func (s *stream) madeOf(typeURL, name string) []string {
	for _, c := range s.classes {
		if res, ok := c.of(typeURL).Get(name); ok {
			return res.Sources
		}
	}
	return nil
}

// Live says on how many proxies an object is in force.
type Live struct {
	Object  string `json:"object"`  // Kind/namespace/name
	Proxies int    `json:"proxies"` // that should have something of it
	Live    int    `json:"live"`    // that acknowledged all of it, in its newest form
}

// LiveObjects counts, for every object that a published resource was made of,
// the proxies that have it. It walks all resources: for people, not for loops.
func (s *Server) LiveObjects() []Live {
	counts := map[string]*Live{}
	for _, st := range s.list() {
		for object, ok := range st.objects() {
			c := counts[object]
			if c == nil {
				c = &Live{Object: object}
				counts[object] = c
			}
			c.Proxies++
			if ok {
				c.Live++
			}
		}
	}
	out := make([]Live, 0, len(counts))
	for _, c := range counts {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Live) int { return strings.Compare(a.Object, b.Object) })
	return out
}

// objects says of each object behind the stream's resources whether the client
// has acknowledged all of them.
func (s *stream) objects() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]bool{}
	for typeURL, w := range s.watches {
		for i, c := range s.classes {
			for name, res := range c.of(typeURL).All() {
				if !s.wants(w, name) {
					continue
				}
				has, ok := w.lanes[i].acked.Get(name)
				ok = ok && snapshot.Same(has, res)
				for _, object := range res.Sources {
					before, seen := out[object]
					out[object] = ok && (before || !seen)
				}
			}
		}
	}
	return out
}

// Dump returns all resources of a stream's classes, by type and name.
func (s *Server) Dump(id uint64) []*snapshot.Resource {
	s.mu.Lock()
	st := s.streams[id]
	s.mu.Unlock()
	if st == nil {
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	var out []*snapshot.Resource
	for _, typeURL := range order {
		for _, c := range st.classes {
			for _, res := range c.of(typeURL).All() {
				out = append(out, res)
			}
		}
	}
	return out
}
