package ca

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/ca/internal/rotation"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/spiffe"
)

func podCaller(n int) identity.Caller {
	return identity.Caller{
		ID:  spiffe.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "reviews"},
		Pod: identity.Pod{Name: fmt.Sprint("reviews-", n), UID: fmt.Sprint("u-", n)},
	}
}

var distributing = rotation.State{Stage: rotation.Distribute, Old: "old", New: "new", Epoch: 3}

// TestReplicasAskOneAnother: 5,000 pods are known to two replicas, and each of them
// told one only that it trusts the new root, or that it goes. In a few rounds, whose
// lines are small, neither waits for anybody.
func TestReplicasAskOneAnother(t *testing.T) {
	const pods, most = 5000, 50 << 10
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	end := now.Add(time.Hour)
	replicas := []*roster{newRoster(now, 0), newRoster(now, 0)}
	for n := range pods {
		said := enroll.Report{Roots: []string{"old"}, Leaf: "old", Expires: end, At: now}
		for _, r := range replicas {
			r.told(podCaller(n), said, now)
		}
		said.Roots, said.At, said.Leaving = []string{"old", "new"}, now.Add(time.Second), n%10 == 0
		replicas[n%2].told(podCaller(n), said, now)
	}
	asks := make([][]word, 2)
	for round := 1; ; round++ {
		done := true
		var next [][]word
		for i, r := range replicas {
			waiting := r.waiting(distributing, now)
			done = done && len(waiting) == 0
			tells := packed(r.answers(distributing, unpacked(packed(asks[1-i]))))
			asked := waiting[:min(len(waiting), askMost)]
			line, err := json.Marshal(record{Of: "1", Instance: "1", Waits: len(waiting), Asks: packed(asked), Tells: tells})
			if err != nil || len(line) > most {
				t.Fatalf("a line of %d bytes, %v", len(line), err)
			}
			replicas[1-i].learn(distributing, unpacked(tells), now)
			next = append(next, asked)
		}
		asks = next
		if done {
			t.Logf("%d rounds", round)
			break
		}
		if round > 10 {
			t.Fatalf("%d and %d are still waited for", len(replicas[0].waiting(distributing, now)), len(replicas[1].waiting(distributing, now)))
		}
	}
	if n := len(replicas[0].seen(time.Second, now).Proxies); n != pods-pods/10 {
		t.Errorf("%d are there", n)
	}
}

// TestTheLaterWordHolds: what a proxy said last, by its own clock, is believed,
// whichever replica heard it and whatever the replicas' clocks say.
func TestTheLaterWordHolds(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	said := func(at time.Duration, roots ...string) enroll.Report {
		return enroll.Report{Roots: roots, Leaf: "old", Expires: now.Add(time.Hour), At: now.Add(at)}
	}
	for _, c := range []struct {
		name        string
		here, there enroll.Report
		waits       bool
	}{
		{"later there", said(0, "old"), said(1, "old", "new"), true}, // milliseconds are told: the same
		{"a second later there", said(0, "old"), said(time.Second, "old", "new"), false},
		{"later here", said(time.Minute, "old"), said(time.Second, "old", "new"), true},
		{"goodbye there", said(0, "old"), enroll.Report{Leaving: true, At: now.Add(time.Second)}, false},
		{"back here", said(time.Minute, "old"), enroll.Report{Leaving: true, At: now.Add(time.Second)}, true},
	} {
		a, b := newRoster(now, 0), newRoster(now, 0)
		a.told(podCaller(1), c.here, now.Add(-time.Hour)) // a clock that is behind
		b.told(podCaller(1), c.there, now)
		a.learn(distributing, unpacked(packed(b.answers(distributing, a.waiting(distributing, now)))), now)
		if waits := len(a.waiting(distributing, now)) > 0; waits != c.waits {
			t.Errorf("%s: waited for: %v", c.name, waits)
		}
	}
}

// TestWordsOfAStranger: whatever stands in the ConfigMap is read without harm.
func TestWordsOfAStranger(t *testing.T) {
	words := []word{{key: key{1}, said: time.UnixMilli(7)}, {key: key{2}, said: time.UnixMilli(8), left: true}}
	if got := unpacked(packed(words)); !slices.Equal(got, words) {
		t.Errorf("%v", got)
	}
	for n := range 2 * wordSize {
		if got := unpacked(packed(words)[:n]); len(got) != n/wordSize {
			t.Errorf("%d bytes: %v", n, got)
		}
	}
}
