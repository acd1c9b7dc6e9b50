package ca

import (
	"sync"
	"time"

	"github.com/weftmesh/weft/ca/internal/identity"
)

// A pod asks once in many hours. It may ask rateBurst times at once (it crashes
// and restarts), then once in rateEvery.
const (
	rateBurst = 20
	rateEvery = time.Second
	// ratePods bounds the memory for pods; beyond it those at rest are forgotten.
	ratePods = 20_000
)

// limiter is a token bucket for each pod, so that one that asks without end
// cannot keep the others waiting.
type limiter struct {
	mu   sync.Mutex
	pods map[identity.Pod]time.Time // when the pod's bucket will be full again
}

func newLimiter() *limiter { return &limiter{pods: map[identity.Pod]time.Time{}} }

// allow takes one token of caller's pod, if there is one at now.
func (l *limiter) allow(caller identity.Caller, now time.Time) bool {
	key := caller.Pod
	if key.UID == "" {
		key.Name = caller.ID.String()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.pods[key]
	if full.Before(now) {
		full = now
	}
	if full.Sub(now) > (rateBurst-1)*rateEvery {
		return false
	}
	if len(l.pods) >= ratePods {
		l.forget(now)
	}
	l.pods[key] = full.Add(rateEvery)
	return true
}

// forget drops the pods whose bucket is full, or all of them if none is.
func (l *limiter) forget(now time.Time) {
	for key, full := range l.pods {
		if full.Before(now) {
			delete(l.pods, key)
		}
	}
	if len(l.pods) >= ratePods {
		clear(l.pods)
	}
}
