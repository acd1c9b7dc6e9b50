package status

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/leader"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/pilot/internal/compile"
	"github.com/weftmesh/weft/pilot/internal/xds"
)

// State is one state of the configuration that all proxies' snapshots were made
// from, and what was found in it.
type State struct {
	Set      config.Set
	Form     []diag.Diagnostic // objects that could not be read
	Findings memo.Table[*compile.Findings]
	Held     []diag.Diagnostic // resources that Envoy would refuse
}

// Count is on how many proxies an object is live. Unheard are the replicas of
// the pilot whose proxies are not in it.
type Count struct {
	xds.Count
	Unheard []string
}

// Tally counts proxies. It is used by one goroutine.
type Tally interface {
	// Update counts anew and returns the objects whose count may differ.
	Update() map[string]struct{}
	// Of returns an object's count, by "Kind/namespace/name", for the form of
	// it that has the generation.
	Of(object string, generation int64) Count
}

// Options of Run; all but Metrics are needed.
type Options struct {
	Config    *rest.Config
	Namespace string // of the control plane, with the Lease
	Lease     string
	Replica   string // this one's name
	// Revision of the control plane: objects with the label istio.io/rev are
	// its concern if that names it, others if it is the Default.
	Revision string
	Default  bool
	State    func() *State               // newest; nil: nothing was read yet
	Tally    func(context.Context) Tally // makes a new one, for as long as the context is not done
	Changed  <-chan struct{}             // signalled when State or the Tally may differ
	Log      *slog.Logger
	Metrics  prometheus.Registerer
}

// Rate is how many requests a second a replica makes for statuses at most, and
// at once after a quiet time.
const Rate = 20

// Times of the writer.
const (
	// gather is how long changes are gathered before statuses are looked at.
	gather = 200 * time.Millisecond
	// transient is how long a verdict that is likely to change by itself is kept
	// back: the first word on a change is mostly the last.
	transient = time.Second
	// countAge is how old a written number of proxies may become; what is True
	// or False, and why, is written at once.
	countAge = 10 * time.Second
	// lookAround is when counts are looked at though nothing was signalled.
	lookAround = 5 * time.Second
)

// Run writes statuses while this replica leads, until ctx ends; then it returns
// nil.
func Run(ctx context.Context, o Options) error {
	slow := rest.CopyConfig(o.Config)
	slow.RateLimiter, slow.QPS, slow.Burst = nil, Rate, Rate
	w, err := newWriter(slow, o.Metrics)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(o.Config)
	if err != nil {
		return err
	}
	return leader.Run(ctx, leader.Options{Client: client, Namespace: o.Namespace, Lease: o.Lease, Replica: o.Replica}, func(ctx context.Context) {
		o.Log.Info("this replica writes the status of objects", "replica", o.Replica)
		r := &reporter{Options: o, writer: w, tally: o.Tally(ctx), entries: map[string]*entry{}, due: map[string]struct{}{}}
		r.run(ctx)
	})
}

// entry is what is known of one object's status.
type entry struct {
	have written
	// since is when what is to be said began to differ from what is written;
	// zero: it does not.
	since time.Time
	wrote time.Time // when it was written last; zero: not by this leader
	after time.Time // when to try again; zero: at once
}

// reporter is the writer at work.
type reporter struct {
	Options
	writer  *writer
	tally   Tally
	now     State
	found   map[string][]diag.Diagnostic // of Form and Held, by object
	entries map[string]*entry            // by "Kind/namespace/name"
	due     map[string]struct{}          // to be looked at
}

// run returns when ctx ends.
func (r *reporter) run(ctx context.Context) {
	r.seed(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.Changed:
			if !pause(ctx, gather) {
				return
			}
		case <-timer.C:
		}
		r.look()
		timer.Reset(r.write(ctx))
	}
}

// pause waits; false: ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// seed reads what stands in the cluster, so that nothing is written again.
func (r *reporter) seed(ctx context.Context) {
	for _, kind := range config.IstioKinds() {
		err := r.writer.list(ctx, kind, func(key string, have written) { r.entries[key] = &entry{have: have} })
		if err != nil && ctx.Err() == nil {
			r.Log.Warn("the statuses that stand are not known; they are written again", "kind", kind, "error", err)
		}
	}
}

// look notes what may have changed since the last look.
func (r *reporter) look() {
	state := r.State()
	if state == nil {
		return
	}
	for _, kind := range config.IstioKinds() {
		for ch := range memo.Diff(r.now.Set.Of(kind), state.Set.Of(kind)) {
			key := string(kind) + "/" + ch.Key
			r.due[key] = struct{}{}
			if !ch.InNew || ch.InOld && ch.Old.UID != ch.New.UID { // gone, or another one of that name
				delete(r.entries, key)
			}
		}
	}
	for ch := range memo.Diff(r.now.Findings, state.Findings) {
		r.due[ch.Key] = struct{}{}
	}
	found := byObject(state.Form, state.Held)
	for _, m := range []map[string][]diag.Diagnostic{r.found, found} {
		for key := range m {
			if !slices.Equal(r.found[key], found[key]) {
				r.due[key] = struct{}{}
			}
		}
	}
	r.now, r.found = *state, found
	maps.Copy(r.due, r.tally.Update())
}

func byObject(lists ...[]diag.Diagnostic) map[string][]diag.Diagnostic {
	out := map[string][]diag.Diagnostic{}
	for _, list := range lists {
		for _, d := range list {
			key := d.Object.Kind + "/" + d.Object.Namespace + "/" + d.Object.Name
			out[key] = append(out[key], d)
		}
	}
	return out
}

// write brings statuses up to date, those that have waited longest first, and
// says when to look again.
func (r *reporter) write(ctx context.Context) time.Duration {
	next := lookAround
	var ready []task
	for key := range r.due {
		t, wait, ok := r.task(key)
		switch {
		case !ok:
			delete(r.due, key)
		case wait > 0:
			next = min(next, wait)
		default:
			ready = append(ready, t)
		}
	}
	slices.SortFunc(ready, func(a, b task) int { return cmp.Or(a.since.Compare(b.since), strings.Compare(a.key, b.key)) })
	for i, t := range ready {
		if i == Rate { // the state may be another by now
			return time.Millisecond
		}
		err := r.put(ctx, t)
		if errors.Is(err, errNotServed) {
			next = min(next, askAgain)
			continue
		}
		if err != nil {
			r.Log.Warn("a status is not written; will try again", "object", t.key, "error", err)
			return time.Second
		}
		delete(r.due, t.key)
	}
	return next
}

// task is a status to write.
type task struct {
	key    string
	object *config.Object // nil: it could not be read
	want   verdict
	since  time.Time
}

// task says what to write of an object, and how long to wait before; false: what
// is written is right, or not ours to write.
func (r *reporter) task(key string) (t task, wait time.Duration, ok bool) {
	kind, name, _ := strings.Cut(key, "/")
	o, _ := r.now.Set.Of(config.Kind(kind)).Get(name)
	found := slices.Clone(r.found[key])
	if f, ok := r.now.Findings.Get(key); ok {
		found = append(found, f.List...)
	}
	if config.Kind(kind).Group() == "" || o == nil && len(found) == 0 || !r.ours(o) {
		return t, 0, false
	}
	t = task{key: key, object: o}
	generation := int64(0)
	if o != nil {
		generation = o.Generation
	}
	t.want = judge(generation, found, r.tally.Of(key, generation))
	e := r.entries[key]
	if e == nil {
		e = &entry{}
		r.entries[key] = e
	}
	if r.right(e, t, len(r.found[key]) > 0) {
		e.since = time.Time{}
		return t, 0, false
	}
	if e.since.IsZero() {
		e.since = time.Now()
	}
	t.since = e.since
	switch {
	case t.want.same(e.have.verdict):
		wait = time.Until(e.wrote.Add(countAge))
	case t.want.pending():
		wait = time.Until(e.since.Add(transient))
	}
	return t, max(wait, time.Until(e.after)), true
}

// right reports whether what is written says what is to be said. The generation
// of an object that cannot be read is not known before it is written.
func (r *reporter) right(e *entry, t task, unread bool) bool {
	have := e.have.verdict
	if unread {
		t.want.generation = have.generation
	}
	return have == t.want
}

// ours reports whether an object is this revision's concern.
func (r *reporter) ours(o *config.Object) bool {
	if o == nil {
		return r.Default
	}
	rev := o.Labels["istio.io/rev"]
	return rev == r.Revision || rev == "" && r.Default
}

// put writes one status. An object that is gone is no error.
func (r *reporter) put(ctx context.Context, t task) error {
	e := r.entries[t.key]
	have, err := r.writer.put(ctx, t, e.have, len(r.found[t.key]) > 0)
	switch {
	case errors.Is(err, errGone):
		delete(r.entries, t.key)
		return nil
	case errors.Is(err, errNotServed):
		e.after = time.Now().Add(askAgain)
		return err
	case err != nil:
		return err
	}
	e.have, e.since, e.wrote = have, time.Time{}, time.Now()
	return nil
}
