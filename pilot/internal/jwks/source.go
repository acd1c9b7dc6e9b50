// Package jwks fetches the keys of RequestAuthentications that name them by URL
// or by issuer, and keeps them fresh.
//
// In: a source of config.States. Out: the same states with config.KeySets,
// which compile reads. It imports source, config and memo, and no stage of the
// pilot.
package jwks

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/source"
)

// Options of New. Check is needed, all else has a default.
type Options struct {
	// Check says why a key set cannot be used; such a one replaces none that was
	// good.
	Check func(text string) error
	// Allow are addresses that may be asked though they are refused by default:
	// loopback, link-local, multicast and metadata servers.
	Allow []netip.Prefix
	// Roots of https; nil: the system's.
	Roots *x509.CertPool
	// Resolver of names; nil: the system's.
	Resolver *net.Resolver
	Metrics  prometheus.Registerer // nil: none
	// Refresh is how often keys are fetched, by default every 20 minutes as in
	// Istio. All times are jittered.
	Refresh time.Duration
	// Retry is the pause after a first failure, by default 1 s; it doubles to a
	// minute.
	Retry time.Duration
	// Rest is how long a host that gave no answer is left alone, by default 30 s.
	Rest time.Duration
	// Keep is how long keys are in force that can no longer be fetched, by default
	// a week as in Istio.
	Keep time.Duration
	// Hold is how long the first state waits for its keys, so that a pilot that
	// starts anew takes none from proxies; by default 5 s.
	Hold time.Duration
}

const mostRetry = time.Minute

func (o Options) withDefaults() Options {
	for at, normal := range map[*time.Duration]time.Duration{
		&o.Refresh: 20 * time.Minute, &o.Retry: time.Second, &o.Rest: 30 * time.Second, &o.Keep: 7 * 24 * time.Hour, &o.Hold: 5 * time.Second,
	} {
		if *at == 0 {
			*at = normal
		}
	}
	return o
}

// Source is a source.Source that adds KeySets to another's states.
type Source struct {
	Options
	from    source.Source
	fetcher *fetcher
	fetches *prometheus.CounterVec

	mu      sync.Mutex
	follow  func(*entry) // in a goroutine of its own
	publish func(source.State)
	state   source.State // of from
	there   bool         // state was published by from
	open    bool         // states go out
	timer   *time.Timer  // opens
	sets    memo.Table[*config.Object]
	entries map[string]*entry // by KeySource.Name
	wishes  map[string]int    // of each namespace's objects
}

// entry is one place of keys.
type entry struct {
	source config.KeySource
	users  map[string]time.Duration // the timeout of each object that wants it
	stop   func()
	since  time.Time // the last good fetch, or the first wish
	asked  bool      // a fetch has ended
	keys   config.Keys
}

// New returns a source of the states of from with keys. It runs once.
func New(from source.Source, o Options) *Source {
	o = o.withDefaults()
	s := &Source{Options: o, from: from, fetcher: newFetcher(o), entries: map[string]*entry{}, wishes: map[string]int{}}
	s.register()
	return s
}

// Run implements source.Source. Publish is called by one goroutine at a time.
func (s *Source) Run(ctx context.Context, publish func(source.State)) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.publish = publish
	s.follow = func(e *entry) {
		ctx, stop := context.WithCancel(ctx)
		e.stop = stop
		running.Go(func() { s.refresh(ctx, e) })
	}
	s.mu.Unlock()
	defer s.end()
	return s.from.Run(ctx, s.take)
}

// end lets nothing out any more.
func (s *Source) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish = func(source.State) {}
	if s.timer != nil {
		s.timer.Stop()
	}
}

// take is given the states of the other source.
func (s *Source) take(st source.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range memo.Diff(s.state.Set.Of(config.RequestAuthentication), st.Set.Of(config.RequestAuthentication)) {
		s.want(ch)
	}
	s.state = st
	if !s.there {
		s.there, s.open = true, len(s.entries) == 0
		s.timer = time.AfterFunc(s.Hold, s.release)
	}
	s.send()
}

// release lets the first state go without all of its keys.
func (s *Source) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open {
		s.open = true
		s.send()
	}
}

// send publishes; mu is held.
func (s *Source) send() {
	if !s.there || !s.open {
		return
	}
	st := s.state
	st.Set = st.Set.WithKeySets(s.sets)
	s.publish(st)
}

// want follows what an object wants, and lets go of what it wanted.
func (s *Source) want(ch memo.Change[*config.Object]) {
	now := map[string]config.KeySource{}
	if ch.InNew {
		for _, w := range ch.New.KeySources() {
			w.Timeout = max(w.Timeout, now[w.Name()].Timeout)
			now[w.Name()] = w
		}
	}
	for name, w := range now {
		e := s.entries[name]
		if e == nil {
			e = &entry{source: w, users: map[string]time.Duration{}, since: time.Now()}
			s.entries[name] = e
		}
		s.join(e, ch.Key, w.Timeout)
	}
	if !ch.InOld {
		return
	}
	for _, w := range ch.Old.KeySources() {
		if _, still := now[w.Name()]; !still {
			s.leave(w.Name(), ch.Key)
		}
	}
}

// join adds an object's wish. A fetch that waits for its turn waits in the line of the
// namespace that has the fewest wishes from now on.
func (s *Source) join(e *entry, user string, timeout time.Duration) {
	_, already := e.users[user]
	before := s.namespaceOf(e)
	e.users[user] = timeout
	if already {
		return
	}
	s.wishes[namespace(user)]++
	if after := s.namespaceOf(e); len(e.users) == 1 || !e.asked && after != before {
		if e.stop != nil {
			e.stop()
		}
		s.follow(e)
	}
}

// leave ends an object's wish.
func (s *Source) leave(name, user string) {
	e := s.entries[name]
	if e == nil {
		return
	}
	if _, wished := e.users[user]; !wished { // a rule that is there twice
		return
	}
	delete(e.users, user)
	if s.wishes[namespace(user)]--; s.wishes[namespace(user)] == 0 {
		delete(s.wishes, namespace(user))
	}
	if len(e.users) > 0 {
		return
	}
	e.stop()
	delete(s.entries, name)
	s.sets = s.sets.Without("/" + name)
	if origin := originOf(e.source); !s.uses(originOf, origin) {
		s.fetcher.forget(origin)
	}
	if host := hostOf(e.source); !s.uses(hostOf, host) {
		s.fetches.DeletePartialMatch(prometheus.Labels{"host": host})
	}
}

// uses reports whether an entry's source has such a part.
func (s *Source) uses(part func(config.KeySource) string, value string) bool {
	for _, e := range s.entries {
		if part(e.source) == value {
			return true
		}
	}
	return false
}

// refresh fetches one entry's keys again and again until ctx ends.
func (s *Source) refresh(ctx context.Context, e *entry) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		text, err := s.fetcher.fetch(ctx, s.sourceOf(e), s.turnOf(e))
		if ctx.Err() != nil {
			return
		}
		failures++
		if err == nil {
			failures = 0
		}
		s.fetched(e, text, err)
		timer.Reset(s.pause(failures))
	}
}

// sourceOf is an entry's source with the longest timeout that a user gives.
func (s *Source) sourceOf(e *entry) config.KeySource {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := e.source
	out.Timeout = 0
	for _, timeout := range e.users {
		out.Timeout = max(out.Timeout, timeout)
	}
	return out
}

func (s *Source) turnOf(e *entry) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.namespaceOf(e)
}

// namespaceOf is whose turn an entry's fetch takes: of those that want its keys the
// namespace with the fewest wishes, so that none with many slows down another's by
// wishing for the same. s.mu is held.
func (s *Source) namespaceOf(e *entry) string {
	if len(e.users) == 0 { // nobody wants it any more
		return ""
	}
	least := slices.MinFunc(slices.Collect(maps.Keys(e.users)), func(a, b string) int {
		return cmp.Or(cmp.Compare(s.wishes[namespace(a)], s.wishes[namespace(b)]), cmp.Compare(a, b))
	})
	return namespace(least)
}

// namespace is that of an object's key.
func namespace(key string) string {
	of, _, _ := strings.Cut(key, "/")
	return of
}

// pause is how long to wait after so many failures in a row.
func (s *Source) pause(failures int) time.Duration {
	wait := s.Refresh
	if failures > 0 {
		wait = min(s.Retry<<min(failures-1, 10), mostRetry)
	}
	return time.Duration(float64(wait) * (0.9 + 0.2*rand.Float64()))
}

// fetched notes what a fetch gave.
func (s *Source) fetched(e *entry, text string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := e.source.Name()
	if s.entries[name] != e {
		return // nobody wants it any more
	}
	s.count(e, err)
	e.asked = true
	if err == nil {
		e.keys, e.since = config.Keys{Text: text}, time.Now()
	} else if !notAsked(err) {
		e.keys.Failed = err.Error()
	} else if e.keys.Failed == "" {
		e.keys.Failed = "its host gave no answer lately"
	}
	if err != nil && time.Since(e.since) > s.Keep {
		e.keys.Text = ""
	}
	s.put(name, e.keys)
}

// put changes a KeySet where it differs, and publishes that, or the first state
// if it waited for no other.
func (s *Source) put(name string, keys config.Keys) {
	was, ok := s.sets.Get("/" + name)
	same := ok && *was.Spec.(*config.Keys) == keys
	if !same {
		s.sets = s.sets.With("/"+name, &config.Object{Kind: config.KeySet, Name: name, Spec: &keys})
	}
	if s.open && same {
		return
	}
	for _, e := range s.entries {
		if !s.open && !e.asked {
			return
		}
	}
	s.open = true
	s.send()
}

func notAsked(err error) bool {
	return errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests)
}
