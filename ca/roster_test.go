package ca

import (
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/enroll"
)

// TestRosterIsFull: nobody speaks for those that there is no room for, and who is
// gone makes room.
func TestRosterIsFull(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r, end := newRoster(now, 0), now.Add(time.Hour)
	said := enroll.Report{Roots: []string{"old", "new"}, Leaf: "old", Expires: end, At: now}
	for n := range rosterMost {
		r.told(podCaller(n), said, now)
	}
	said.Expires = end.Add(time.Hour)
	r.told(podCaller(rosterMost), said, now)
	said.Expires = end
	r.told(podCaller(rosterMost+1), said, now)
	bye := enroll.Report{Leaving: true, At: now.Add(time.Second)}
	r.told(podCaller(rosterMost+1), bye, now)
	if more := r.proxies[many]; more == nil || more.left || !more.Heard.IsZero() || !more.Ends.Equal(end.Add(time.Hour)) {
		t.Errorf("the many: %+v", more)
	}
	if n := len(r.waiting(distributing, now)); n != 1 {
		t.Errorf("%d are waited for", n)
	}
	for n := range 3 {
		r.told(podCaller(n), bye, now)
	}
	r.told(podCaller(rosterMost+2), said, now.Add(time.Minute))
	if p := r.proxies[podCaller(rosterMost+2).Pod]; p == nil || p.Heard.IsZero() {
		t.Error("who is gone made no room")
	}
	if len(r.silent(time.Hour, 1, end.Add(2*time.Hour))) != 0 || len(r.proxies) != 0 {
		t.Errorf("%d are kept after their end", len(r.proxies))
	}
}
