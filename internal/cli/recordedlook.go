package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/figures"
)

// A recorder scrapes each 15 s or so: a shorter time than recordedWindow it cannot
// tell, and sooner than after recordedEvery it has nothing new.
const (
	recordedWindow = time.Minute
	recordedEvery  = 10 * time.Second
)

// whoCounts is a part of help.
const whoCounts = "Figures of a minute\nand more are those of the cluster's Prometheus, at once, if it has one; shorter ones, and those of a local mesh,\n" +
	"are asked of the proxies, which takes as long as --window says."

func (w *choice) windowFlags(c *cobra.Command, window time.Duration) {
	f := c.Flags()
	w.given = func() bool { return f.Changed("window") }
	said := ""
	if window > 0 {
		said = "; 1m where a Prometheus is asked"
	}
	f.DurationVar(&w.window, "window", window, "`TIME` of which the figures are; 0: since the proxies' start"+said)
	f.StringVar(&w.recorder, "prometheus", "", "`URL` of the Prometheus to ask, or none; default: the cluster's, if it has one")
}

// recorded is of which time a recorder is asked, if it is.
func (w *choice) recorded() (time.Duration, bool) {
	if w.given() || w.window == 0 {
		return w.window, w.window >= recordedWindow
	}
	return recordedWindow, true
}

// named: the person has named a recorder, and wants no other's word.
func (w *choice) named() bool { return w.recorder != "" && w.recorder != noRecorder }

func (w *choice) checkRecorder() error {
	if !w.named() {
		return nil
	}
	if _, recorded := w.recorded(); !recorded {
		return usageError{fmt.Errorf("--window %v: a Prometheus can tell of %v and more", w.window, recordedWindow)}
	}
	_, err := recorderAt(w.recorder)
	return err
}

// looker looks at the mesh.
type looker func(context.Context) (look, error)

// source is who tells the figures, with a first look.
func (a *app) source(ctx context.Context, w *choice) (looker, look, error) {
	if err := w.checkRecorder(); err != nil {
		return nil, look{}, err
	}
	r, err := a.reach(&w.kube, w.namespace)
	if err != nil {
		return nil, look{}, err
	}
	return a.sourceOf(ctx, w, r, func() (recorder, error) { return a.recorder(&w.kube, w.recorder) })
}

// sourceOf: a recorder that the person did not name, and that cannot tell, leaves it
// to the proxies.
func (a *app) sourceOf(ctx context.Context, w *choice, r reach, find func() (recorder, error)) (looker, look, error) {
	window, recorded := w.recorded()
	if recorded {
		by, err := find()
		if err == nil && by == nil {
			err = errNoRecorder
		}
		from := func(ctx context.Context) (look, error) { return r.recordedLook(ctx, by, window) }
		var first look
		if err == nil {
			first, err = from(ctx)
		}
		switch {
		case err == nil:
			w.window = window
			return from, first, nil
		case w.named() || ctx.Err() != nil:
			return nil, look{}, err
		case !errors.Is(err, errNoRecorder):
			fmt.Fprintf(a.err, "%v; the proxies are asked\n", err)
		}
	}
	first, err := r.look(ctx)
	return r.look, first, err
}

// recordedLook asks a recorder for the last window of the pods that run.
func (r reach) recordedLook(ctx context.Context, by recorder, window time.Duration) (look, error) {
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	text, name, err := by.get(asking, "api/v1/query?"+url.Values{"query": {figures.RecordedQuery(window)}}.Encode())
	if errors.Is(err, errNoRecorder) {
		return look{}, err
	}
	name = "Prometheus (" + name + ")"
	var answer figures.Recorded
	if err == nil && len(text) > maxPage {
		err = fmt.Errorf("its answer is larger than %d MiB", maxPage>>20)
	}
	if err == nil {
		answer, err = figures.ReadRecorded(text, window)
	}
	if err != nil {
		return look{}, fmt.Errorf("%s: %w", name, printable{err})
	}
	all, err := r.list(ctx)
	if err != nil {
		return look{}, err
	}
	out := look{at: time.Now(), all: all, from: name}
	for _, p := range all {
		pod := podOf(p)
		pod.Ejected = answer.Ejected[p.Namespace+"/"+p.Name]
		out.pods = append(out.pods, pod)
	}
	counted, missing := answer.Deltas(out.pods)
	if len(counted) == 0 {
		return look{}, fmt.Errorf("%s scrapes none of the mesh's proxies: docs/guides/observe.md says how", name)
	}
	out.counted = counted
	for _, pod := range missing {
		out.missing = append(out.missing, pod+": Prometheus does not scrape it")
	}
	return out, nil
}
