package dashboard

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/internal/figures"
)

// Charts are of what a recorder has; where it is away, or hangs, a page waits 2 s at most,
// has what was seen here, and says so, which is logged once.
func TestHistoryOfARecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var past atomic.Pointer[func(context.Context) (History, error)]
		now := func(f func(context.Context) (History, error)) { past.Store(&f) }
		d := New(Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Past: func(ctx context.Context, of Charted) (History, error) {
			if of != (Charted{figures.Pods, "n", "p", figures.ByGateway}) {
				t.Errorf("asked for %+v", of)
			}
			return (*past.Load())(ctx)
		}})
		of := rowName{figures.Pods, "n", "p"}
		d.seen.past.put(of, dot{at: time.Unix(7, 0)})
		d.seen.looks = []Look{{Pods: []figures.Pod{{Namespace: "n", Name: "p", Proxy: true, Gateway: true}}}}
		ask := func(from, failed string, at int64) {
			t.Helper()
			began := time.Now()
			h := d.history(t.Context(), of)
			if h.From != from || !strings.Contains(h.Failed, failed) || failed == "" && h.Failed != "" || len(h.Points) != 1 || h.Points[0].At.Unix() != at || time.Since(began) > recorderTime {
				t.Errorf("%+v after %v, want it from %s, failed %q", h, time.Since(began), from, failed)
			}
		}
		says := func(h History, err error) func(context.Context) (History, error) {
			return func(context.Context) (History, error) { return h, err }
		}
		whole := History{StepSeconds: 30, Points: []Point{{At: time.Unix(9, 0)}}}
		now(says(whole, nil))
		ask(fromRecorder, "", 9)
		now(says(History{}, nil))
		ask(fromAgents, "", 7)
		now(says(History{}, errors.New("it is away")))
		ask(fromAgents, "it is away", 7)
		ask(fromAgents, "it is away", 7)
		if n := strings.Count(log.String(), "it is away"); n != 1 {
			t.Errorf("said %d times:\n%s", n, log.String())
		}
		hangs := func(until func(context.Context) error) func(context.Context) (History, error) {
			return func(ctx context.Context) (History, error) { return History{}, until(ctx) }
		}
		now(hangs(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }))
		ask(fromAgents, "does not answer within 2s", 7)
		now(hangs(func(context.Context) error { <-time.After(time.Minute); return nil })) // who heeds no context
		ask(fromAgents, "does not answer within 2s", 7)
		<-time.After(time.Hour)
		now(says(whole, nil))
		ask(fromRecorder, "", 9)
		d.seen.past.put(of, dot{at: time.Unix(9, 0).Add(recorderLag + step)})
		if h := d.history(t.Context(), of); h.From != fromAgents {
			t.Errorf("what is seen here is newer, and charts are from %s", h.From)
		}
		if !strings.Contains(log.String(), "again") {
			t.Error(log.String())
		}
	})
}
