// Package memory is a source that a program fills itself: tests, benchmarks.
//
// Imports: source, config.
package memory

import (
	"context"
	"sync"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/source"
)

// Source holds a state in memory. Its methods may be called by any goroutine.
type Source struct {
	mu      sync.Mutex
	state   source.State
	changed chan struct{} // holds one token when there is something to publish
}

// New returns a source with the given objects.
func New(objects ...*config.Object) *Source {
	s := &Source{changed: make(chan struct{}, 1)}
	s.Apply(objects...)
	return s
}

// Apply puts objects into the state, replacing those of the same kind and key,
// in one step.
func (s *Source) Apply(objects ...*config.Object) {
	s.edit(func(st *source.State) {
		for _, o := range objects {
			st.Set = st.Set.With(o)
		}
	})
}

// Delete takes one object out.
func (s *Source) Delete(kind config.Kind, key string) {
	s.edit(func(st *source.State) { st.Set = st.Set.Without(kind, key) })
}

// ApplyYAML decodes text as a file of that name and applies what is sound in
// it; the rest is published as findings, and returned.
func (s *Source) ApplyYAML(name, text string) []diag.Diagnostic {
	objects, found := config.Decode(name, []byte(text))
	s.edit(func(st *source.State) {
		for _, o := range objects {
			st.Set = st.Set.With(o)
		}
		st.Findings = found
	})
	return found
}

func (s *Source) edit(f func(*source.State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.state)
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Set returns the present state's objects.
func (s *Source) Set() config.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Set
}

// Run publishes the state at once and after each change.
func (s *Source) Run(ctx context.Context, publish func(source.State)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
			s.mu.Lock()
			state := s.state
			s.mu.Unlock()
			publish(state)
		}
	}
}
