package admission

import (
	"context"
	"net"
	"sync"

	"golang.org/x/sync/semaphore"
)

// shares are what requests may hold, in all and by caller: a caller who sends
// slowly, or what costs much, on many connections, holds up no other.
type shares struct {
	all  *semaphore.Weighted
	each int64

	mu sync.Mutex
	of map[string]*share // by address; those that nobody uses are gone
}

type share struct {
	*semaphore.Weighted
	users int
}

func newShares(all, each int64) *shares {
	return &shares{all: semaphore.NewWeighted(all), each: each, of: map[string]*share{}}
}

// take waits for n, at most each, of a caller's share. free gives them
// back.
func (s *shares) take(ctx context.Context, caller string, n int64) (free func(), err error) {
	own := s.enter(caller)
	if err := own.Acquire(ctx, n); err != nil {
		s.leave(caller)
		return nil, err
	}
	if err := s.all.Acquire(ctx, n); err != nil {
		own.Release(n)
		s.leave(caller)
		return nil, err
	}
	return func() {
		s.all.Release(n)
		own.Release(n)
		s.leave(caller)
	}, nil
}

func (s *shares) enter(caller string) *share {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.of[caller]
	if own == nil {
		own = &share{Weighted: semaphore.NewWeighted(s.each)}
		s.of[caller] = own
	}
	own.users++
	return own
}

func (s *shares) leave(caller string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if own := s.of[caller]; own.users > 1 {
		own.users--
	} else {
		delete(s.of, caller)
	}
}

// idle reports whether nobody holds or waits for any.
func (s *shares) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.of) == 0
}

// hostOf is the address of a caller, without its port.
func hostOf(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	return host
}
