package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/samples/bookshop/load"
	"github.com/weftmesh/weft/samples/bookshop/shop"
	"github.com/weftmesh/weft/test/stat"
)

const (
	// steadyRPS is the load under which things are changed, in requests a second.
	steadyRPS = 150
	// liveWithin is how soon an edited file must be what happens.
	liveWithin = time.Second
	// canaryShare and editedShare are the chances of reviews v2 before and after
	// the edit.
	canaryShare = 0.1
	editedShare = 0.5
)

// showSplit counts the versions of reviews behind the gateway.
func showSplit(ctx context.Context, d *demo) error {
	report := &load.Report{}
	plan := load.Plan{URL: d.url, Requests: d.requests, Workers: 8, Client: d.client}
	if err := load.Run(ctx, plan, report.Add); err != nil {
		return err
	}
	report.Finish()
	want := stat.Binomial(d.requests, 1-canaryShare)
	versions := map[string]int{}
	if seen := report.Services["reviews"]; seen != nil {
		versions = seen.ByVersion
	}
	d.row(row{
		what:     fmt.Sprintf("%d requests, v1 90 : v2 10", d.requests),
		expected: fmt.Sprintf("v1 %v, 0 failed", want),
		seen:     fmt.Sprintf("v1 %d, v2 %d, %d failed", versions["v1"], versions["v2"], report.Failed),
		ok:       want.Contains(versions["v1"]) && versions["v1"]+versions["v2"] == d.requests && report.Failed == 0,
	})
	return nil
}

// showEdit edits the weights while requests run, and finds out from the answers
// when the new weights held.
func showEdit(ctx context.Context, d *demo) error {
	steady := d.startLoad(ctx)
	defer steady.stop()
	if err := steady.lasts(ctx, 3*time.Second); err != nil {
		return err
	}
	edited := time.Now()
	file := filepath.Join(d.mesh.Dir, "reviews-route.yaml")
	err := edit(file, [2]string{"weight: 90", "weight: 50"}, [2]string{"weight: 10", "weight: 50"})
	if err != nil {
		return err
	}
	d.say("  %s saved with 50/50, %d requests/s running", filepath.Base(file), steadyRPS)
	if err := steady.lasts(ctx, liveWithin+5*time.Second); err != nil {
		return err
	}
	outcomes := steady.stop()
	after := outcomes[sentFrom(outcomes, edited.Add(liveWithin)):]
	want, v2 := stat.Binomial(len(after), editedShare), countV2(after)
	delay, found := liveAfter(outcomes, edited)
	d.row(row{
		what: "weights edited to 50 : 50: live", expected: fmt.Sprintf("within %v", liveWithin),
		seen: liveText(delay, found), ok: found && delay <= liveWithin,
	})
	d.row(row{
		what:     fmt.Sprintf("%d requests from %v after the edit on", len(after), liveWithin),
		expected: fmt.Sprintf("v2 %v", want),
		seen:     fmt.Sprintf("v1 %d, v2 %d", len(after)-v2, v2),
		ok:       len(after) > 0 && want.Contains(v2),
	})
	d.row(noFailure("failed requests around the edit", outcomes))
	return nil
}

// noFailure is the row that says that no outcome is a failure.
func noFailure(what string, outcomes []load.Outcome) row {
	failed, why := 0, ""
	for _, o := range outcomes {
		if o.Failed() {
			failed++
			why = fmt.Sprintf(" (last: %d %s %v)", o.Status, o.Answer.Error, o.Err)
		}
	}
	return row{
		what: what, expected: "0", seen: fmt.Sprintf("%d of %d%s", failed, len(outcomes), why),
		ok: failed == 0 && len(outcomes) > 0,
	}
}

// liveAfter estimates from the answers when the split changed, as a time since
// the edit: the most likely moment at which the chance of v2 went from the old
// to the new weight. It is exact to a few requests. found is false if no answer
// speaks for a change.
func liveAfter(outcomes []load.Outcome, edited time.Time) (delay time.Duration, found bool) {
	hits := make([]bool, len(outcomes))
	for i, o := range outcomes {
		hits[i] = isV2(o)
	}
	at := stat.ChangePoint(hits, canaryShare, editedShare)
	if at == len(outcomes) {
		return 0, false
	}
	return max(0, outcomes[at].Start.Sub(edited)), true
}

func liveText(delay time.Duration, found bool) string {
	if !found {
		return "not seen"
	}
	if delay < 10*time.Millisecond { // finer than the load shows
		return "within 10 ms"
	}
	return fmt.Sprintf("after about %d ms", delay.Milliseconds())
}

// sentFrom returns the index of the first outcome sent at or after at.
func sentFrom(outcomes []load.Outcome, at time.Time) int {
	i, _ := slices.BinarySearchFunc(outcomes, at, func(o load.Outcome, at time.Time) int { return o.Start.Compare(at) })
	return i
}

func countV2(outcomes []load.Outcome) (n int) {
	for _, o := range outcomes {
		if isV2(o) {
			n++
		}
	}
	return n
}

func isV2(o load.Outcome) bool { return reviewsOf(o).Version == "v2" }

// reviewsOf returns the part of the answer that reviews gave; it is empty if
// there is none.
func reviewsOf(o load.Outcome) (found shop.Answer) {
	o.Answer.Each(func(a shop.Answer) {
		if a.Service == "reviews" {
			found = a
		}
	})
	return found
}

// steadyLoad is a load that runs until it is stopped.
type steadyLoad struct {
	cancel   context.CancelFunc
	done     chan struct{}
	lock     sync.Mutex
	outcomes []load.Outcome
}

// startLoad sends steadyRPS requests a second to the gateway.
func (d *demo) startLoad(ctx context.Context) *steadyLoad {
	ctx, cancel := context.WithCancel(ctx)
	s := &steadyLoad{cancel: cancel, done: make(chan struct{})}
	plan := load.Plan{URL: d.url, RPS: steadyRPS, Workers: 16, Client: d.client}
	go func() {
		defer close(s.done)
		// The plan's URL has been used before, so that nothing can be wrong with it.
		_ = load.Run(ctx, plan, s.observe)
	}()
	return s
}

func (s *steadyLoad) observe(o load.Outcome) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.outcomes = append(s.outcomes, o)
}

// lasts lets the load run for d.
func (s *steadyLoad) lasts(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop ends the load and returns its outcomes in the order of sending. It may be
// called again.
func (s *steadyLoad) stop() []load.Outcome {
	s.cancel()
	<-s.done
	slices.SortStableFunc(s.outcomes, func(a, b load.Outcome) int { return a.Start.Compare(b.Start) })
	return s.outcomes
}
