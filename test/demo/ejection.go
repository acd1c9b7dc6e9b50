package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/weftmesh/weft/samples/bookshop/load"
	"github.com/weftmesh/weft/samples/bookshop/shop"
	"github.com/weftmesh/weft/test/weftcli"
)

// bookshop is the path of the sample's command in a pod.
const bookshop = "../../bin/bookshop"

// ejectWithin bounds the wait for an ejection and for its end. The sample's
// DestinationRule ejects after three failures in a row, for 5 s.
const ejectWithin = 20 * time.Second

// showEjection makes one replica of reviews v1 fail while requests run, until
// the frontend's proxy ejects it, and heals it again.
func showEjection(ctx context.Context, d *demo) error {
	replicas, err := d.mesh.PodsOf(ctx, "reviews-v1")
	if err != nil {
		return err
	}
	callers, err := d.mesh.PodsOf(ctx, "frontend")
	if err != nil {
		return err
	}
	bad, caller := replicas[0], callers[0]
	steady := d.startLoad(ctx)
	defer steady.stop()
	if err := d.fail(ctx, bad, caller); err != nil {
		return err
	}
	if err := d.spared(ctx, bad, steady); err != nil {
		return err
	}
	back, err := d.heal(ctx, bad, caller)
	if err != nil {
		return err
	}
	if err := steady.lasts(ctx, 3*time.Second); err != nil {
		return err
	}
	outcomes := steady.stop()
	answered := answersOf(outcomes[sentFrom(outcomes, back):], bad.Name)
	d.row(row{
		what: "its answers once it is taken back", expected: "some",
		seen: fmt.Sprintf("%d in 3 s", answered), ok: answered > 0,
	})
	d.row(noFailure("failed meanwhile: retried elsewhere", outcomes))
	return nil
}

// fail switches the replica to failing and waits until weft ps shows that the
// caller's proxy ejected it.
func (d *demo) fail(ctx context.Context, bad, caller weftcli.Pod) error {
	start := time.Now()
	if err := d.control(ctx, bad.Name, "fail", "on"); err != nil {
		return err
	}
	d.say("  %s answers 503 now; its probes still pass", bad.Name)
	took, err := d.awaitEjection(ctx, bad, caller, true, start)
	if err != nil {
		return err
	}
	failed, err := d.failures(ctx, bad)
	d.row(row{
		what:     "a replica that fails: ejected (weft ps)",
		expected: "after 3 failures",
		seen:     fmt.Sprintf("after %.1f s and %d failures", took.Seconds(), failed),
		ok:       err == nil && failed >= 3,
	})
	return err
}

// spared shows that an ejected replica gets no call: its own count of failures
// stands still while the load runs. The callers could not tell, since a failed
// call is retried elsewhere.
func (d *demo) spared(ctx context.Context, bad weftcli.Pod, steady *steadyLoad) error {
	const watched = 2 * time.Second
	before, err := d.failures(ctx, bad)
	if err != nil {
		return err
	}
	if err := steady.lasts(ctx, watched); err != nil {
		return err
	}
	after, err := d.failures(ctx, bad)
	d.row(row{
		what: fmt.Sprintf("calls it gets in %v while it is ejected", watched), expected: "0",
		seen: fmt.Sprint(after - before), ok: err == nil && after == before,
	})
	return err
}

// failures asks the replica how many calls it has failed.
func (d *demo) failures(ctx context.Context, pod weftcli.Pod) (int64, error) {
	var status shop.Status
	err := d.mesh.ExecJSON(ctx, &status, pod.Name, bookshop, "ctl", "status")
	return status.Failed, err
}

// heal switches the replica back and waits until weft ps shows that it is no
// longer ejected; it returns when that was seen.
func (d *demo) heal(ctx context.Context, bad, caller weftcli.Pod) (time.Time, error) {
	start := time.Now()
	if err := d.control(ctx, bad.Name, "fail", "off"); err != nil {
		return time.Time{}, err
	}
	d.say("  %s is healthy again", bad.Name)
	took, err := d.awaitEjection(ctx, bad, caller, false, start)
	d.row(row{
		what: "healthy again: taken back (weft ps)", expected: fmt.Sprintf("within %v", ejectWithin),
		seen: fmt.Sprintf("after %.1f s", took.Seconds()), ok: err == nil,
	})
	return time.Now(), err
}

func (d *demo) control(ctx context.Context, pod string, order ...string) error {
	_, err := d.mesh.Exec(ctx, pod, append([]string{bookshop, "ctl"}, order...)...)
	return err
}

// awaitEjection waits until the caller's proxy has, or no longer has, the
// replica ejected.
func (d *demo) awaitEjection(
	ctx context.Context, bad, caller weftcli.Pod, want bool, start time.Time,
) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, ejectWithin)
	defer cancel()
	what := fmt.Sprintf("%s has %s ejected: %v", caller.Name, bad.Name, want)
	err := d.mesh.Await(ctx, what, func(pods []weftcli.Pod) bool {
		i := slices.IndexFunc(pods, func(p weftcli.Pod) bool { return p.Name == caller.Name })
		return i >= 0 && pods[i].Sees(bad) == want
	})
	return time.Since(start), err
}

// answersOf counts the outcomes in which a pod of reviews answered.
func answersOf(outcomes []load.Outcome, pod string) (n int) {
	for _, o := range outcomes {
		if reviewsOf(o).Pod == pod {
			n++
		}
	}
	return n
}
