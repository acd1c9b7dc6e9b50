package ca

import (
	"sync"
	"time"

	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/ca/internal/refusal"
)

// A pod asks once in many hours. It may ask rateBurst times at once (it crashes
// and restarts), then once in rateEvery.
const (
	rateBurst = 20
	rateEvery = time.Second
)

// An address may have that many tokens looked at, each of which costs calls to
// the API server: room for a node whose pods, started together, come from its
// own address, but not for one pod that would keep the others waiting.
const (
	addressBurst = 1000
	addressEvery = 10 * time.Millisecond
)

// A crowd is served by turns: turnsAtOnce calls are worked on, which keeps both the
// API server and the processors busy, and turnsWaiting wait; agents wait 10 s for
// an answer, in which even a slow API server proves thousands.
const (
	turnsAtOnce  = 64
	turnsWaiting = 4096
)

// pause is how long a caller is told to stay away.
var pause = map[refusal.Reason]time.Duration{refusal.Rate: rateEvery, refusal.Crowded: 2 * time.Second}

// rateKeys bounds the memory of one limiter; beyond it those at rest are
// forgotten.
const rateKeys = 20_000

// limiter is a token bucket for each key, so that one that asks without end
// cannot keep the others waiting.
type limiter[K comparable] struct {
	burst int
	every time.Duration

	mu   sync.Mutex
	full map[K]time.Time // when the key's bucket will be full again
}

// newLimiter lets each key ask burst times at once, then once in every.
func newLimiter[K comparable](burst int, every time.Duration) *limiter[K] {
	return &limiter[K]{burst: burst, every: every, full: map[K]time.Time{}}
}

// podOf is the key of a caller: its pod, or its identity where it has none.
func podOf(c identity.Caller) identity.Pod {
	if c.Pod.UID == "" {
		c.Pod.Name = c.ID.String()
	}
	return c.Pod
}

// allow takes one token of key's bucket, if there is one at now.
func (l *limiter[K]) allow(key K, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.full[key]
	if full.Before(now) {
		full = now
	}
	if full.Sub(now) > time.Duration(l.burst-1)*l.every {
		return false
	}
	if len(l.full) >= rateKeys {
		l.forget(now)
	}
	l.full[key] = full.Add(l.every)
	return true
}

// forget drops the keys whose bucket is full, or all of them if none is.
func (l *limiter[K]) forget(now time.Time) {
	for key, full := range l.full {
		if full.Before(now) {
			delete(l.full, key)
		}
	}
	if len(l.full) >= rateKeys {
		clear(l.full)
	}
}
