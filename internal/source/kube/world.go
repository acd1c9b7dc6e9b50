package kube

import (
	"iter"
	"slices"
	"sync"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/source"
)

// world is the newest state. Any goroutine may change it.
type world struct {
	mu    sync.Mutex
	set   config.Set
	found map[config.Kind]map[string][]diag.Diagnostic // by kind and key
	// findings are those of found, sorted; nil: to be made anew.
	findings []diag.Diagnostic
	// unread are the kinds that were not read yet.
	unread  map[config.Kind]bool
	changed chan struct{} // holds one token when something differs
}

func newWorld() *world {
	return &world{found: map[config.Kind]map[string][]diag.Diagnostic{}, unread: map[config.Kind]bool{}, changed: make(chan struct{}, 1)}
}

// expect says that the first state needs a kind.
func (w *world) expect(k config.Kind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unread[k] = true
}

// expects reports whether the first state still needs a kind.
func (w *world) expects(k config.Kind) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unread[k]
}

func (w *world) whole() bool { return len(w.missing()) == 0 }

// missing lists the kinds that were not read yet.
func (w *world) missing() (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range w.unread {
		out = append(out, string(k))
	}
	slices.Sort(out)
	return out
}

func (w *world) state() source.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.findings == nil {
		w.findings = []diag.Diagnostic{}
		for _, of := range w.found {
			for _, list := range of {
				w.findings = append(w.findings, list...)
			}
		}
		diag.Sort(w.findings)
	}
	return source.State{Set: w.set, Findings: w.findings}
}

func (w *world) tell() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// put takes one object as it is now. One that cannot be read leaves the last
// good one in force.
func (w *world) put(s *store, in *item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.closed {
		return
	}
	before := w.set
	if o := w.keep(s.kind.name, in); o != nil {
		w.set = w.set.With(o)
	}
	if w.say(s.kind.name, in.key, in.found) || !w.set.Equal(before) {
		w.tell()
	}
}

// keep is the object to stand for in: the present one if it says the same, or
// if in cannot be read. w.mu is held.
func (w *world) keep(k config.Kind, in *item) *config.Object {
	old, ok := w.set.Of(k).Get(in.key)
	if ok && (in.object == nil || old.Equal(in.object)) {
		return old
	}
	return in.object
}

// say notes what is to be said of an object, and reports whether it is new.
// w.mu is held.
func (w *world) say(k config.Kind, key string, found []diag.Diagnostic) bool {
	if slices.Equal(w.found[k][key], found) {
		return false
	}
	w.findings = nil
	if len(found) == 0 {
		delete(w.found[k], key)
		return true
	}
	if w.found[k] == nil {
		w.found[k] = map[string][]diag.Diagnostic{}
	}
	w.found[k][key] = found
	return true
}

// report notes what is to be said of a store's only object.
func (w *world) report(s *store, found []diag.Diagnostic) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !s.closed && w.say(s.kind.name, s.only, found) {
		w.tell()
	}
}

// remove takes an object away.
func (w *world) remove(s *store, key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !s.closed {
		w.drop(s.kind.name, key)
	}
}

func (w *world) drop(k config.Kind, key string) {
	before := w.set
	w.set = w.set.Without(k, key)
	if w.say(k, key, nil) || !w.set.Equal(before) {
		w.tell()
	}
}

// replace takes all objects of a store as they are now.
func (w *world) replace(s *store, all []*item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.closed {
		return
	}
	k := s.kind.name
	present := make(map[string]bool, len(all))
	for _, in := range all {
		present[in.key] = true
	}
	var gone []string
	for key := range w.found[k] {
		if !present[key] && (s.only == "" || s.only == key) {
			gone = append(gone, key)
		}
	}
	for _, key := range gone {
		w.say(k, key, nil)
	}
	before := w.set
	if s.only == "" {
		w.set = w.set.WithKind(k, memo.Collect(w.kept(k, all)))
	} else if w.set = w.set.Without(k, s.only); len(all) > 0 {
		w.set = before
		if o := w.keep(k, all[0]); o != nil {
			w.set = w.set.With(o)
		}
	}
	if w.set.Equal(before) {
		w.set = before
	}
	for _, in := range all {
		w.say(k, in.key, in.found)
	}
	if w.unread[k] || w.findings == nil || !w.set.Equal(before) {
		delete(w.unread, k)
		w.tell()
	}
}

// kept yields what stands for each item.
func (w *world) kept(k config.Kind, all []*item) iter.Seq2[string, *config.Object] {
	return func(yield func(string, *config.Object) bool) {
		for _, in := range all {
			if o := w.keep(k, in); o != nil && !yield(in.key, o) {
				return
			}
		}
	}
}

// close ends what a store may do, and takes its only object away.
func (w *world) close(s *store) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.closed = true
	w.drop(s.kind.name, s.only)
}
