package xds

import (
	"time"

	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// lingering is the make-before-break state of a watch: removals that wait.
type lingering struct {
	kept     int       // removals held back at the last answer
	since    time.Time // since when
	earliest time.Time // not before; set when a client reconnects
}

const (
	// maxLinger bounds how long a removed cluster waits for routes to be
	// acknowledged.
	maxLinger = 30 * time.Second
	// resumeLinger is how long removals wait after a client reconnected: its
	// requests for routes come after those for clusters.
	resumeLinger = 2 * time.Second
	// maxWarm bounds how long routes wait for the first endpoints of new
	// clusters.
	maxWarm = 5 * time.Second
)

// removedLate are the types whose removals wait until routes were
// acknowledged.
func removedLate(typeURL string) bool {
	return typeURL == snapshot.Cluster || typeURL == snapshot.Endpoint
}

// usesClusters are the types that wait while a new cluster warms.
func usesClusters(typeURL string) bool {
	return typeURL == snapshot.Listener || typeURL == snapshot.Route || typeURL == snapshot.VirtualHost
}

// mayRemove says whether clusters and endpoints may be removed now.
func (s *stream) mayRemove(w *watch, now time.Time) bool {
	if now.Before(w.earliest) || s.heldBack() {
		return false
	}
	if w.kept > 0 && now.Sub(w.since) >= maxLinger {
		return true
	}
	for _, typeURL := range order {
		if usesClusters(typeURL) && s.unsettled(s.watches[typeURL]) {
			return false
		}
	}
	return true
}

// nextLook is how long held-back removals wait at least, or at most.
func (l *lingering) nextLook(now time.Time) time.Duration {
	if wait := l.earliest.Sub(now); wait > 0 {
		return wait
	}
	return max(l.since.Add(maxLinger).Sub(now), time.Millisecond)
}

// unsettled reports whether a type has something to send or to be
// acknowledged.
func (s *stream) unsettled(w *watch) bool {
	if w == nil {
		return false
	}
	return w.flight != nil || w.due || w.more || w.waiting || len(w.force) > 0 || len(w.tables) > 0 || len(w.rollback) > 0 || s.behind(w)
}

// behind reports whether a class has moved on since the last answer.
func (s *stream) behind(w *watch) bool {
	for i, c := range s.classes {
		if w.lanes[i].base != c.of(w.typeURL) {
			return true
		}
	}
	return false
}

// warm notes the new clusters of an answer. Routes wait until the client has
// acknowledged them and their first endpoints.
func (s *stream) warm(items []item, now time.Time) {
	for _, it := range items {
		if it.res != nil && it.fresh {
			s.warming[it.name()] = struct{}{}
			s.warmUntil = now.Add(maxWarm)
		}
	}
}

// warmed takes the ACK of clusters or endpoints, or the NACK of items: only
// these are given up, the others of the answer come again.
func (s *stream) warmed(typeURL string, items []item, accepted bool) {
	eds := s.watches[snapshot.Endpoint]
	for _, it := range items {
		if len(s.warming) == 0 {
			return
		}
		if typeURL == snapshot.Cluster && accepted && eds != nil && len(eds.names) > 0 && s.has(snapshot.Endpoint, it.name()) {
			continue // its endpoints' ACK ends it
		}
		delete(s.warming, it.name())
	}
}

// isWarming reports whether routes must wait for a cluster.
func (s *stream) isWarming(now time.Time) bool {
	if len(s.warming) > 0 && !now.Before(s.warmUntil) {
		clear(s.warming)
	}
	return len(s.warming) > 0
}

// has reports whether the proxy's classes hold a resource.
func (s *stream) has(typeURL, name string) bool {
	for _, c := range s.classes {
		if _, ok := c.of(typeURL).Get(name); ok {
			return true
		}
	}
	return false
}
