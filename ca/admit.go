package ca

import (
	"context"
	"time"

	"github.com/weftmesh/weft/ca/internal/issue"
	"github.com/weftmesh/weft/ca/internal/refusal"
)

const (
	// admitMost is how long a caller is kept waiting for a moment of a rotation in
	// which nobody is issued to; then it is told to ask again. Less than an agent's
	// time-out.
	admitMost  = 5 * time.Second
	admitEvery = 20 * time.Millisecond
)

// admit returns what issues certificates, as soon as that may be. Until done is
// called no stage of a rotation is left, so that who is issued to is known to the
// next one.
func (a *authority) admit(ctx context.Context) (issuer *issue.Issuer, done func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, admitMost)
	defer cancel()
	for {
		a.turn.RLock()
		s := a.signing.Load()
		why := a.mayNotSign(s, time.Now())
		if why == "" {
			return s.issuer, a.turn.RUnlock, nil
		}
		a.turn.RUnlock()
		select {
		case <-time.After(admitEvery):
		case <-ctx.Done():
			return nil, nil, refusal.New(refusal.RootChanges, "%s; ask again", why)
		}
	}
}

func (a *authority) mayNotSign(s *signing, now time.Time) string {
	state := s.store.State()
	if state.Holds() {
		return "the root changes in this moment"
	}
	if a.peers == nil {
		return ""
	}
	return a.peers.mayNotSign(state.Active(), now)
}
