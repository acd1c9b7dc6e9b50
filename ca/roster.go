package ca

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/ca/internal/rotation"
	"github.com/weftmesh/weft/internal/enroll"
)

// rosterMost bounds the roster; who comes after it counts as one that is waited
// for, under the name of many.
const rosterMost = 100_000

// many are those beyond rosterMost. A caller without a pod is kept under its
// identity, so that none has this name.
var many = identity.Pod{Name: "more"}

// everIssued is the longest that a certificate of an older release may last: its
// bound was 90 days, and who has one still reports it after an upgrade.
const everIssued = 90 * 24 * time.Hour

// leftKept is how long a goodbye is kept of whom nobody here knew.
const leftKept = time.Hour

// roster is who may hold a certificate of ours, and what each has said of itself.
// It is in memory alone: who lives says it again within the time that
// Options.ReportEvery gives.
type roster struct {
	mu      sync.Mutex
	since   time.Time
	cleared time.Time     // when room was last sought
	longest time.Duration // that a certificate may last, of older releases too
	proxies map[identity.Pod]*member
}

// member is one that may hold a certificate.
type member struct {
	rotation.Proxy
	namespace string
	// said is when it said what is known of it, by its own clock: of what two
	// replicas know, the later holds. Before it said anything: when it was issued
	// to, by ours.
	said  time.Time
	since time.Time // when it became known here, or was last asked after
	left  bool      // it said goodbye, or its pod is gone
}

func newRoster(now time.Time, longest time.Duration) *roster {
	return &roster{since: now, longest: max(longest, everIssued), proxies: map[identity.Pod]*member{}}
}

// entry is that of a caller, or of the many where there is no room; r.mu is held.
func (r *roster) entry(caller identity.Caller, now time.Time) *member {
	key := podOf(caller)
	p := r.proxies[key]
	if p == nil || p.left {
		p = &member{namespace: caller.Namespace(), said: now, since: now}
		p.Name = cmp.Or(caller.Namespace()+"/"+caller.Pod.Name, caller.ID.String())
		if !r.room(now) {
			if more := r.proxies[many]; more != nil {
				return more
			}
			key, p.namespace, p.Name = many, "", fmt.Sprintf("those beyond %d", rosterMost)
		}
		r.proxies[key] = p
	}
	return p
}

// room reports whether one more can be kept; r.mu is held. Who is gone makes room,
// and is looked for once a second at most.
func (r *roster) room(now time.Time) bool {
	if len(r.proxies) >= rosterMost && now.Sub(r.cleared) >= time.Second {
		r.cleared = now
		maps.DeleteFunc(r.proxies, func(_ identity.Pod, p *member) bool { return p.left || !p.Ends.After(now) })
	}
	return len(r.proxies) < rosterMost
}

// leave forgets what a member had.
func (p *member) leave() { p.left, p.Trusts, p.Leaf = true, nil, "" }

// issued notes that a caller may hold a certificate until end.
func (r *roster) issued(caller identity.Caller, end time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.entry(caller, time.Now())
	if end.After(p.Ends) {
		p.Ends = end
	}
}

// told notes what a caller says of itself. Of its certificate's end it is not
// believed more than that a certificate may last.
func (r *roster) told(caller identity.Caller, said enroll.Report, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := said.At
	if at.IsZero() {
		at = now
	}
	p := r.entry(caller, now)
	if most := now.Add(r.longest); said.Expires.After(most) {
		said.Expires = most
	}
	if p == r.proxies[many] { // nobody speaks for all of them
		if !said.Leaving && said.Expires.After(p.Ends) {
			p.Ends = said.Expires
		}
		return
	}
	p.said, p.since = at, now
	if said.Leaving { // kept, so that other replicas learn of it
		p.leave()
		if keeps := now.Add(leftKept); p.Ends.Before(keeps) {
			p.Ends = keeps
		}
		return
	}
	p.Trusts, p.Leaf, p.Epoch, p.Heard, p.Expires = said.Roots, said.Leaf, said.Epoch, now, said.Expires
	if said.Expires.After(p.Ends) { // issued before this process knew of it
		p.Ends = said.Expires
	}
}

// keep forgets the pods that are not among those that live.
func (r *roster) keep(uids map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.proxies, func(pod identity.Pod, _ *member) bool { return pod.UID != "" && !uids[pod.UID] })
}

// seen is a copy of all that is known, by name; who holds nothing more is
// forgotten.
func (r *roster) seen(window time.Duration, now time.Time) rotation.Seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.proxies, func(_ identity.Pod, p *member) bool { return !p.Ends.After(now) })
	out := rotation.Seen{Since: r.since, Window: window, Proxies: make([]rotation.Proxy, 0, len(r.proxies))}
	for _, p := range r.proxies {
		if !p.left {
			out.Proxies = append(out.Proxies, p.Proxy)
		}
	}
	slices.SortFunc(out.Proxies, func(a, b rotation.Proxy) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
