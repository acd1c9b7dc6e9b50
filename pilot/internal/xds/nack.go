package xds

import (
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// refusals is what a watch remembers of its client's NACKs.
type refusals struct {
	refused   map[string]refusal // by name; held back until the version changes
	limit     int                // how many resources the next answer may carry; 0: any number
	nacks     int                // in a row
	notBefore time.Time          // back-off of the next answer
	rollback  []item             // last acknowledged versions to send again
}

type refusal struct {
	version string
	message string
	at      time.Time
}

// A culprit is found in a few quick rounds, even among thousands of resources
// that the client does not name. Who refuses more than that in a row is slowed
// down, up to maxBackoff.
const (
	quickNacks   = 24
	nackPause    = 5 * time.Millisecond
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = 30 * time.Second
)

func backoff(nacks int) time.Duration {
	if nacks <= quickNacks {
		return nackPause
	}
	return min(maxBackoff, firstBackoff<<min(nacks-quickNacks-1, 16))
}

// nack takes a refusal of the answer in flight: the client's state is what it
// was before it, and the culprits are held back and rolled back. If nobody is
// named, the next answers are halved until the culprit stands alone. It
// returns the culprits that are certain.
func (w *watch) nack(message string, now time.Time) []item {
	f := w.flight
	w.flight = nil
	w.nacks++
	w.notBefore = now.Add(backoff(w.nacks))
	if f.rollback {
		return nil // it stays as it is: there is nothing older to offer
	}
	w.revert(f)
	culprits := culpritsOf(f.items, message)
	if len(culprits) == 0 {
		w.limit = max(1, len(f.items)/2)
		return nil
	}
	for _, it := range culprits {
		w.refuse(it, said(message, it.name(), culprits), now)
	}
	return culprits
}

// said is the part of a NACK's message that is about one of the culprits: Envoy
// lists "NAME: REASON, NAME: REASON" in one.
func said(message, name string, culprits []item) string {
	at := strings.Index(message, name+": ")
	for at > 0 && wordAt(message, at-1, -1) { // the end of a longer name
		next := strings.Index(message[at+1:], name+": ")
		if next < 0 {
			return message
		}
		at += 1 + next
	}
	if at < 0 {
		return message
	}
	part := message[at+len(name)+2:]
	for _, other := range culprits {
		part, _, _ = strings.Cut(part, ", "+other.name()+": ")
	}
	return part
}

// revert makes what a refused answer carried count as not sent.
func (w *watch) revert(f *flight) {
	for i := range f.before {
		w.lanes[i].sent = f.before[i]
	}
	for _, it := range f.items {
		l := &w.lanes[it.lane]
		if old, ok := l.sent.Get(it.name()); ok && snapshot.Same(old, it.res) {
			l.sent = l.sent.Without(it.name())
		}
	}
	w.more = true
}

// refuse holds back one resource in this version, and rolls it back to what
// the client acknowledged last; else to its form without EnvoyFilters, if they
// edited it, or to nothing.
func (w *watch) refuse(it item, message string, now time.Time) {
	if w.refused == nil {
		w.refused = map[string]refusal{}
	}
	version := ""
	if it.res != nil {
		version = it.res.Version
	}
	w.refused[it.name()] = refusal{version: version, message: message, at: now}
	w.force.remove(it.name())
	good, had := w.lanes[it.lane].acked.Get(it.name())
	switch {
	case had && good.Body != nil && good.Version != version:
		w.rollback = append(w.rollback, it.with(good))
	case it.res != nil && !had && it.res.Plain != nil:
		// Without what EnvoyFilters make of it, it is one that Envoy takes.
		w.lanes[it.lane].sent = w.lanes[it.lane].sent.With(it.name(), it.res.Plain)
		w.rollback = append(w.rollback, it.with(it.res.Plain))
	case it.res != nil && (!had || good.Version == version):
		w.rollback = append(w.rollback, it.with(nil))
	}
}

// holdsBack reports whether a version was refused before.
func (w *watch) holdsBack(name string, res *snapshot.Resource) bool {
	r, ok := w.refused[name]
	if !ok {
		return false
	}
	if res != nil && res.Version == r.version || res == nil && r.version == "" {
		return true
	}
	delete(w.refused, name)
	return false
}

// forgive forgets what was refused and is not offered any more: who takes a
// mistake back is in sync again, though nothing need be sent.
func (w *watch) forgive(targets []table) {
	for name, r := range w.refused {
		version := ""
		for _, target := range targets {
			if res, ok := target.Get(name); ok {
				version = res.Version
			}
		}
		if version != r.version {
			delete(w.refused, name)
		}
	}
}

// culpritsOf finds whom a NACK is about: a resource that was sent alone, or
// those that the message names.
func culpritsOf(items []item, message string) []item {
	if len(items) == 1 {
		return items
	}
	var out []item
	for _, it := range items {
		if names(message, it.name()) {
			out = append(out, it)
		}
	}
	return out
}

// names reports whether a text holds a name as a whole word, so that
// 0.0.0.0_80 is not found in 0.0.0.0_8080.
func names(text, name string) bool {
	if name == "" {
		return false
	}
	for at := 0; ; {
		i := strings.Index(text[at:], name)
		if i < 0 {
			return false
		}
		start, end := at+i, at+i+len(name)
		if !wordAt(text, start-1, -1) && !wordAt(text, end, +1) {
			return true
		}
		at = start + 1
	}
}

// wordAt reports whether the byte at i continues a name. Dots and colons do
// only if a name goes on after them in direction dir.
func wordAt(text string, i, dir int) bool {
	if i < 0 || i >= len(text) {
		return false
	}
	c := text[i]
	if strings.IndexByte(".:/", c) >= 0 {
		return wordAt(text, i+dir, dir) && strings.IndexByte(".:/", text[i+dir]) < 0
	}
	return c == '_' || c == '|' || c == '-' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// takeRollback returns the items of a roll-back answer and forgets them.
func (w *watch) takeRollback() []item {
	out := w.rollback
	w.rollback = nil
	slices.SortFunc(out, func(a, b item) int { return strings.Compare(a.name(), b.name()) })
	return out
}
