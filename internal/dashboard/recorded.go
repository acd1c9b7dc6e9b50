package dashboard

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// recorderTime is how long a page waits for a recorder before it has what was seen here.
const recorderTime = 2 * time.Second

// recorderLag is by how much a recorder may be behind what was seen here.
const recorderLag = 3 * time.Minute

// Who says a History.
const (
	fromRecorder = "recorder"
	fromAgents   = "agents"
)

// lost is why the recorder did not answer, which is logged when it changes.
type lost struct {
	mu  sync.Mutex
	why string
}

func (l *lost) note(why string) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed, l.why = l.why != why, why
	return changed
}

// history is what the recorder knows of a row, where there is one and it answers in
// time; else what was seen since this dashboard began.
func (d *Dashboard) history(ctx context.Context, of rowName) History {
	d.mu.Lock()
	out := History{StepSeconds: step.Seconds(), Points: d.seen.points(of), From: fromAgents}
	looks := d.seen.looks
	d.mu.Unlock()
	if d.options.Past == nil {
		return out
	}
	asking, cancel := context.WithTimeout(ctx, recorderTime)
	defer cancel()
	past, err := d.recorded(asking, Charted{of.kind, of.namespace, of.name, countedBy(looks, of)})
	switch {
	case ctx.Err() != nil: // who asked has gone
		return out
	case err != nil:
		out.Failed = err.Error()
		if d.lost.note(out.Failed) {
			d.options.Log.Warn("charts are of what the agents said since this dashboard began", "error", err)
		}
		return out
	}
	if d.lost.note("") {
		d.options.Log.Info("charts are of what Prometheus has again")
	}
	if n := len(past.Points); n == 0 || len(out.Points) > 0 && out.Points[len(out.Points)-1].At.Sub(past.Points[n-1].At) > recorderLag {
		return out // it does not scrape those pods, not yet, or no more
	}
	past.From = fromRecorder
	return past
}

// recorded waits no longer than ctx, whatever the recorder's way is.
func (d *Dashboard) recorded(ctx context.Context, of Charted) (History, error) {
	type answer struct {
		is  History
		err error
	}
	came := make(chan answer, 1)
	go func() {
		is, err := d.options.Past(ctx, of)
		came <- answer{is, err}
	}()
	select {
	case a := <-came:
		if a.err == nil || ctx.Err() == nil {
			return a.is, a.err
		}
	case <-ctx.Done():
	}
	return History{}, fmt.Errorf("prometheus does not answer within %v", recorderTime)
}
