package kube

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// link says once when the API server does not answer, and once when it does
// again.
type link struct {
	host string
	log  *slog.Logger
	mu   sync.Mutex
	// troubles are what was asked for last without success, and why.
	troubles map[string]error
}

func newLink(log *slog.Logger, host string) *link {
	return &link{host: host, log: log, troubles: map[string]error{}}
}

// told takes what became of a request for something.
func (l *link) told(ctx context.Context, what string, err error) {
	if ctx.Err() != nil || apierrors.IsNotFound(err) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before, known := l.troubles[what]
	switch {
	case err != nil:
		l.troubles[what] = err
		// One word for all kinds when nobody answers; one for each that is refused.
		reason := apierrors.ReasonForError(err)
		if !known && len(l.troubles) == 1 || reason != "" && (!known || reason != apierrors.ReasonForError(before)) {
			l.log.Warn("the API server does not give what the mesh needs; the last state stays in force", "server", l.host, "what", what, "error", err)
		}
	case known:
		if delete(l.troubles, what); len(l.troubles) == 0 {
			l.log.Info("the API server gives all that the mesh needs again", "server", l.host)
		}
	}
}

// forget ends what was wrong with something that nobody asks for any more.
func (l *link) forget(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.troubles, what)
}

// trouble is one reason why something is missing, "" if nothing is wrong.
func (l *link) trouble() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(l.troubles)) {
		return what + ": " + l.troubles[what].Error()
	}
	return ""
}
