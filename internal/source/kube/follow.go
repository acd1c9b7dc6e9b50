package kube

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
)

const (
	// firstRetry and lastRetry bound the pause before the API server is asked
	// again; a reflector's own back-off would end at a minute.
	firstRetry = 200 * time.Millisecond
	lastRetry  = 3 * time.Second
	// lookAgain is when a kind without a CRD is looked for again.
	lookAgain = 3 * time.Second
	// goneAfter is how many times in a row a kind must be missing before its
	// objects are given up: an API server that starts may not know it yet.
	goneAfter = 3
)

// follow keeps one kind up to date until ctx ends.
func (s *Source) follow(ctx context.Context, st *store) {
	missing := 0
	for ctx.Err() == nil {
		version, err := s.clients.version(ctx, st.kind)
		switch {
		case err != nil:
			pause(ctx, jitter(firstRetry))
		case version != "":
			missing = 0
			err := s.followVersion(ctx, st, version)
			if apierrors.IsForbidden(err) {
				pause(ctx, jitter(lookAgain))
			} else {
				pause(ctx, jitter(firstRetry))
			}
		default:
			if missing++; missing == goneAfter || s.world.expects(st.kind.name) {
				_ = st.Replace(nil, "")
			}
			pause(ctx, jitter(lookAgain))
		}
	}
}

// followVersion does so while the API server serves the kind in a version;
// then it says what it answered.
func (s *Source) followVersion(ctx context.Context, st *store, version string) error {
	lw, err := s.clients.listWatch(st.kind, version)
	if err != nil {
		return err
	}
	quiet := logr.Discard() // the link tells what matters
	r := cache.NewReflectorWithOptions(lw, nil, st, cache.ReflectorOptions{
		Name: "weft", TypeDescription: st.kind.resource, Logger: &quiet, Backoff: backoff(),
	})
	retry := backoff()
	ctx = logr.NewContext(ctx, quiet)
	for ctx.Err() == nil {
		switch err := r.ListAndWatchWithContext(ctx); {
		case err == nil:
			retry = backoff()
			pause(ctx, jitter(firstRetry))
		case apierrors.IsNotFound(err) && st.kind.custom, apierrors.IsForbidden(err):
			return err
		default:
			pause(ctx, retry.Step())
		}
	}
	return nil
}

func backoff() *wait.Backoff {
	return &wait.Backoff{Duration: firstRetry, Cap: lastRetry, Steps: 10, Factor: 2, Jitter: 0.5}
}

func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
