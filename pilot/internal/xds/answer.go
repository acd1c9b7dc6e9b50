package xds

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// next makes the next answer of the stream, in the order of types, or says
// when to look again (0: when woken).
func (s *stream) next(now time.Time) (*response, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var again time.Duration
	later := func(d time.Duration) {
		if d > 0 && (again == 0 || d < again) {
			again = d
		}
	}
	if len(s.answers) > 0 {
		first := s.answers[0]
		s.answers = s.answers[1:]
		return first, 0
	}
	if !s.ready() {
		return nil, 0
	}
	for _, typeURL := range order {
		w := s.watches[typeURL]
		if w == nil || w.flight != nil {
			continue
		}
		if wait := w.notBefore.Sub(now); wait > 0 {
			later(wait)
			continue
		}
		if usesClusters(typeURL) && s.isWarming(now) {
			later(s.warmUntil.Sub(now))
			continue
		}
		if resp := s.answer(w, now); resp != nil {
			return resp, 0
		}
		if w.kept > 0 {
			if s.heldBack() {
				later(maxLinger) // until then, whatever ends it wakes the sender
			} else {
				later(w.nextLook(now))
			}
		}
	}
	return nil, again
}

// answer makes an answer for one type, or nil if there is nothing to say.
func (s *stream) answer(w *watch, now time.Time) *response {
	if len(w.rollback) > 0 {
		return s.launch(w, &flight{items: w.takeRollback(), rollback: true})
	}
	may := !removedLate(w.typeURL) || s.mayRemove(w, now)
	if !s.pending(w) && (w.kept == 0 || !may) {
		return nil
	}
	s.resume(w, now)
	f := &flight{before: make([]table, len(w.lanes)), since: s.since(w)}
	for i := range w.lanes {
		f.before[i] = w.lanes[i].sent
	}
	f.items = s.collect(w, may, now)
	if len(f.items) == 0 && !w.due {
		return nil
	}
	return s.launch(w, f)
}

func (s *stream) pending(w *watch) bool {
	return w.due || w.more || w.waiting || len(w.force) > 0 || len(w.tables) > 0 || s.behind(w)
}

// resume takes over what a reconnecting client holds, once.
func (s *stream) resume(w *watch, now time.Time) {
	if w.known == nil {
		return
	}
	if w.typeURL == snapshot.Route || w.typeURL == snapshot.VirtualHost {
		for name := range w.known {
			s.held[tableOf(name)] = struct{}{}
		}
	}
	if len(w.known) > 0 {
		w.earliest = now.Add(resumeLinger)
		s.resumed = true
	}
	w.resume(s.targets(w.typeURL))
}

func (s *stream) targets(typeURL string) []table {
	out := make([]table, len(s.classes))
	for i, c := range s.classes {
		out[i] = c.of(typeURL)
	}
	return out
}

// since is the time of the oldest event that the answer brings.
func (s *stream) since(w *watch) (oldest time.Time) {
	if !w.answered {
		return
	}
	for i, c := range s.classes {
		ed := c.now.Load()
		if ed.since.IsZero() || len(ed.steps[w.typeURL]) == 0 || w.lanes[i].base == ed.snap.Of(w.typeURL) {
			continue
		}
		if oldest.IsZero() || ed.since.Before(oldest) {
			oldest = ed.since
		}
	}
	return oldest
}

// collect finds what to send and brings the lanes' sent tables up to it.
func (s *stream) collect(w *watch, mayRemove bool, now time.Time) []item {
	if w.denied {
		return w.absent()
	}
	if len(w.refused) > 0 {
		w.forgive(s.targets(w.typeURL))
	}
	items := s.forced(w)
	forced := make(map[string]struct{}, len(items))
	for _, it := range items {
		forced[it.name()] = struct{}{}
	}
	items = slices.Grow(items, s.expected(w))
	kept, lacking := 0, s.lacking(w)
	w.more, w.waiting = false, false
	for i, c := range s.classes {
		ed := c.now.Load()
		l := &w.lanes[i]
		sent := ed.snap.Of(w.typeURL)
		for ch := range ed.from(w.typeURL, l.sent) {
			_, done := forced[ch.Key]
			switch {
			case done || !s.wants(w, ch.Key):
			case w.holdsBack(ch.Key, ch.New):
				sent = keep(sent, ch)
			case needs(ch, lacking):
				w.waiting = true
				sent = keep(sent, ch)
			case !ch.InNew && s.has(w.typeURL, ch.Key): // it moved to another class of the proxy
			case !ch.InNew && !mayRemove:
				kept++
				sent = keep(sent, ch)
			case w.limit > 0 && len(items) >= w.limit:
				w.more = true
				sent = keep(sent, ch)
			default:
				items = append(items, one(i, ch.Key, ch.New, !ch.InOld))
			}
		}
		l.base, l.sent = ed.snap.Of(w.typeURL), sent
	}
	if w.kept == 0 && kept > 0 {
		w.since = now
	}
	w.kept = kept
	if w.limit > 0 && !w.more {
		w.limit = 0
	}
	return items
}

// expected guesses how many items come: all of a table for a client that has
// nothing of it.
func (s *stream) expected(w *watch) (n int) {
	for i, c := range s.classes {
		now := c.of(w.typeURL).Len()
		switch {
		case w.lanes[i].sent.Len() > 0:
		case w.wildcard:
			n += now
		default:
			n += min(now, len(w.names))
		}
	}
	return n
}

// keep undoes a change in what counts as sent.
func keep(sent table, ch change) table {
	if ch.InOld {
		return sent.With(ch.Key, ch.Old)
	}
	return sent.Without(ch.Key)
}

// wants reports whether the client subscribes to a name.
func (s *stream) wants(w *watch, name string) bool {
	if w.names.has(name) {
		return true
	}
	if !w.wildcard {
		return false
	}
	if w.typeURL == snapshot.VirtualHost {
		_, ok := s.held[tableOf(name)]
		return ok
	}
	return true
}

// forced gives the resources that were asked for by name just now and that no
// difference brings, and all virtual hosts of new route tables. A name that does not exist is said to be
// absent, so that the client does not wait for it.
func (s *stream) forced(w *watch) (items []item) {
	for _, t := range w.tables {
		items = append(items, s.hostsOf(w, t)...)
	}
	w.tables = nil
	for _, name := range w.force {
		it := one(0, name, nil, false)
		for i := len(s.classes) - 1; i >= 0; i-- {
			if res, ok := s.classes[i].of(w.typeURL).Get(name); ok {
				it = one(i, name, res, false)
			}
		}
		held, _ := w.lanes[it.lane].sent.Get(name)
		if comes := it.res != nil && !snapshot.Same(held, it.res); !comes && !w.holdsBack(name, it.res) {
			items = append(items, it)
		}
	}
	w.force = nil
	slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.name(), b.name()) })
	return slices.CompactFunc(items, func(a, b item) bool { return a.name() == b.name() })
}

// hostsOf gives all virtual hosts of a route table. Envoy waits for an answer
// that is about the table, so an empty one is told the removal of a host.
func (s *stream) hostsOf(w *watch, routeTable string) (items []item) {
	for i, c := range s.classes {
		for name, res := range c.of(w.typeURL).Prefix(routeTable + "/") {
			if !w.holdsBack(name, res) {
				items = append(items, one(i, name, res, false))
			}
		}
	}
	if len(items) == 0 {
		items = append(items, one(0, routeTable+"/", nil, false))
	}
	return items
}

// launch makes the response of a flight and notes what follows from it.
func (s *stream) launch(w *watch, f *flight) *response {
	s.nonce++
	f.nonce, f.at = strconv.FormatUint(s.nonce, 36), time.Now()
	if f.before == nil {
		f.before = make([]table, len(w.lanes))
		for i := range w.lanes {
			f.before[i] = w.lanes[i].sent
		}
	}
	resp := &response{typeURL: w.typeURL, nonce: f.nonce, resources: make([]*snapshot.Resource, 0, len(f.items))}
	for _, it := range f.items {
		switch {
		case it.res != nil:
			resp.resources = append(resp.resources, it.res)
		case w.typeURL == snapshot.VirtualHost && w.names.has(it.name()):
			resp.absent = append(resp.absent, it.name())
		default:
			resp.removed = append(resp.removed, it.name())
		}
	}
	if s.sotw {
		s.whole(w, resp)
	} else {
		s.follow(w, f)
	}
	w.flight, w.due, w.answered, w.lastSent = f, false, true, f.nonce
	return resp
}

// follow notes what other types must do because of an answer.
func (s *stream) follow(w *watch, f *flight) {
	switch w.typeURL {
	case snapshot.Cluster:
		if w.answered || s.resumed {
			s.warm(f.items, f.at)
		}
		s.refreshEndpoints(f.items)
	case snapshot.Route:
		s.holdTables(f.items)
	}
}

// refreshEndpoints sends the endpoints of updated clusters again: Envoy builds
// such a cluster anew and does not ask for them, but waits.
func (s *stream) refreshEndpoints(items []item) {
	eds := s.watches[snapshot.Endpoint]
	if eds == nil {
		return
	}
	for _, it := range items {
		if it.res != nil && !it.fresh && eds.names.has(it.name()) {
			eds.force.add([]string{it.name()})
		}
	}
}

// holdTables notes route tables that the client gets, whose virtual hosts
// follow.
func (s *stream) holdTables(items []item) {
	hosts := s.watches[snapshot.VirtualHost]
	for _, it := range items {
		if it.res == nil {
			delete(s.held, it.name())
			continue
		}
		if _, ok := s.held[it.name()]; !ok && hosts != nil {
			hosts.tables = append(hosts.tables, it.name())
		}
		s.held[it.name()] = struct{}{}
	}
}
