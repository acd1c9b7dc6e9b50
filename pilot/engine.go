package pilot

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/source"
	"github.com/weftmesh/weft/pilot/internal/compile"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/translate"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/xds"
)

// engine takes states through the stages. One goroutine runs it; outcome may
// be read by any.
type engine struct {
	xds      *xds.Server
	log      *slog.Logger
	metrics  *metrics
	compiler *compiler
	keeper   *keeper // nil: every object is in force as far as it can be
	dir      *directory
	lines    map[model.ProxyClass]*line
	commons  map[model.ProxyClass]*line // that lines were forked from
	applied  source.State
	pace     pacer
	outcome  atomic.Pointer[outcome]
	standing *standing
	// published is the generation of the state that all classes have: a string.
	published atomic.Value
}

// generation is what the writer of the state folder calls its state.
func generation(set config.Set) string {
	if o, ok := set.Of(config.ConfigMap).Get("weft-system/weft-state"); ok {
		return o.Annotations["weft.mesh/generation"]
	}
	return ""
}

// outcome is what the last run came to, for the debug pages.
type outcome struct {
	state  source.State
	result compile.Result
}

// line is the part of the pipeline that belongs to one class. What it would
// compute as others do, it shares with them through a common line.
type line struct {
	common     *line // nil: it shares nothing
	viewer     *view.Viewer
	translator *translate.Translator
	problems   int
}

func newLine(class model.ProxyClass) *line {
	return &line{viewer: view.New(class), translator: translate.For(class.Role)}
}

// fork returns the line of a class whose common one is l.
func (l *line) fork(class model.ProxyClass) *line {
	return &line{common: l, viewer: l.viewer.Fork(class), translator: l.translator.Fork()}
}

func (l *line) snapshot(mesh *model.Mesh) snapshot.Snapshot {
	if l.common != nil {
		l.common.snapshot(mesh)
	}
	return l.translator.Snapshot(l.viewer.View(mesh))
}

func newEngine(server *xds.Server, log *slog.Logger, reg prometheus.Registerer) *engine {
	e := &engine{
		xds: server, log: log, compiler: newCompiler(), dir: &directory{classifier: view.NewClassifier()}, standing: newStanding(),
		lines: map[model.ProxyClass]*line{}, commons: map[model.ProxyClass]*line{},
	}
	e.metrics = newMetrics(reg, e)
	return e
}

// classIdle is how long a class without proxies is kept.
const classIdle = 2 * time.Minute

// run takes states from the inbox until ctx ends.
func (e *engine) run(ctx context.Context, in *inbox) error {
	timer := time.NewTimer(classIdle)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-in.filled:
		case <-e.xds.Wanted():
			e.publishMissing()
		case <-timer.C:
		}
		timer.Reset(e.step(in))
	}
}

// step applies what waits in the inbox, as far as the hold-off lets it, and
// says when to look again.
func (e *engine) step(in *inbox) time.Duration {
	state, since := in.peek()
	if since.IsZero() {
		return classIdle
	}
	if wait := e.pace.wait(time.Now()); wait > 0 && e.ready() {
		if mixed, differs, more := fast(e.applied.Set, state.Set); differs {
			e.apply(source.State{Set: mixed, Findings: e.applied.Findings}, since)
			if !more {
				in.taken(state)
			}
		}
		return wait
	}
	e.apply(state, since)
	in.taken(state)
	e.pace.ran(time.Now())
	return e.pace.pause
}

func (e *engine) ready() bool { return e.outcome.Load() != nil }

// apply compiles a state and publishes what it changes. since is when the
// event came that made it.
func (e *engine) apply(state source.State, since time.Time) {
	start := time.Now()
	before := e.outcome.Load()
	result := e.compile(state.Set)
	e.applied = state
	e.outcome.Store(&outcome{state: state, result: result})
	e.report(before, state, result)
	if before == nil || before.result.Mesh != result.Mesh {
		e.publish(result.Mesh, since)
	}
	e.published.Store(generation(state.Set))
	e.stands(state, result)
	e.metrics.runs.Observe(time.Since(start).Seconds())
}

func (e *engine) compile(set config.Set) compile.Result {
	if e.keeper == nil {
		return e.compiler.Mesh(set)
	}
	return e.keeper.compile(e.compiler, set)
}

// publish gives every live class its snapshot of mesh. Proxies whose class
// differs now are moved after the classes have their new state.
func (e *engine) publish(mesh *model.Mesh, since time.Time) {
	all, _ := e.xds.Classes(classIdle)
	live := make(map[model.ProxyClass]*line, len(all))
	for _, class := range all {
		if l := e.lines[class]; l != nil {
			live[class] = l
			e.publishClass(class, l, mesh, since)
		}
	}
	e.lines = live
	e.dropCommons()
	if e.dir.update(mesh) {
		e.xds.SetDirectory(e.dir)
	}
	e.publishMissing()
}

func (e *engine) publishClass(class model.ProxyClass, l *line, mesh *model.Mesh, since time.Time) {
	e.xds.Publish(class, l.snapshot(mesh), since)
	problems := l.translator.Problems()
	if len(problems) != l.problems {
		for _, p := range problems {
			if p.Patch != nil {
				e.log.Error("a patch is left out of a resource", "class", class, "type", p.Type, "resource", p.Name, "object", p.Sources, "patch", *p.Patch, "reason", p.Reason)
				continue
			}
			e.log.Error("a resource that Envoy would refuse is held back; the last good one stays", "class", class, "type", p.Type, "resource", p.Name, "objects", p.Sources, "reason", p.Reason)
		}
	}
	l.problems = len(problems)
}

// publishMissing makes the snapshots of classes that proxies ask for.
func (e *engine) publishMissing() {
	out := e.outcome.Load()
	if out == nil {
		return
	}
	_, missing := e.xds.Classes(classIdle)
	for _, class := range missing {
		l := e.newLine(class, out.result.Mesh)
		e.lines[class] = l
		e.publishClass(class, l, out.result.Mesh, time.Time{})
	}
	if len(missing) > 0 {
		e.stands(out.state, out.result)
	}
}

// newLine makes the line of a class, forked from the common one where there is
// one for such classes. That is shown the mesh first, so that the line begins
// as it is. The first of such classes has a line of its own: while it is the
// only one, as in a mesh of one namespace, a common line would be held beside
// it for nobody.
func (e *engine) newLine(class model.ProxyClass, mesh *model.Mesh) *line {
	key, ok := view.Common(class)
	if !ok || !e.anyOf(key) {
		return newLine(class)
	}
	common := e.commons[key]
	if common == nil {
		common = newLine(key)
		e.commons[key] = common
	}
	common.snapshot(mesh)
	return common.fork(class)
}

// anyOf reports whether a class of a common key has a line.
func (e *engine) anyOf(key model.ProxyClass) bool {
	for class := range e.lines {
		if k, ok := view.Common(class); ok && k == key {
			return true
		}
	}
	return false
}

// dropCommons forgets the common lines that no line was forked from.
func (e *engine) dropCommons() {
	used := map[*line]bool{}
	for _, l := range e.lines {
		used[l.common] = true
	}
	maps.DeleteFunc(e.commons, func(_ model.ProxyClass, l *line) bool { return !used[l] })
}

// report logs the findings that are new.
func (e *engine) report(before *outcome, state source.State, result compile.Result) {
	var old outcome
	if before != nil {
		old = *before
	}
	known := map[diag.Diagnostic]bool{}
	for _, d := range old.state.Findings {
		known[d] = true
	}
	for _, d := range state.Findings {
		if !known[d] {
			e.say(d)
		}
	}
	for ch := range memo.Diff(old.result.Findings, result.Findings) {
		if ch.InNew {
			for _, d := range ch.New.List {
				e.say(d)
			}
		} else {
			e.log.Info("object is in order now", "object", ch.Key)
		}
	}
}

func (e *engine) say(d diag.Diagnostic) {
	level := map[diag.Severity]slog.Level{diag.Error: slog.LevelError, diag.Warning: slog.LevelWarn, diag.Info: slog.LevelInfo}[d.Severity]
	e.log.Log(context.Background(), level, d.String())
}

// directory answers the xDS server's questions about proxies from the newest
// mesh.
type directory struct {
	mu         sync.Mutex
	classifier *view.Classifier
	mesh       *model.Mesh
}

// update takes a mesh and reports whether classes of proxies may differ.
func (d *directory) update(mesh *model.Mesh) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	first := d.mesh == nil
	d.mesh = mesh
	return d.classifier.Update(mesh) || first
}

// Workload returns a pod, or nil.
func (d *directory) Workload(namespace, pod string) *model.Workload {
	d.mu.Lock()
	defer d.mu.Unlock()
	w, _ := d.mesh.Workloads.Get(namespace + "/" + pod)
	return w
}

// At returns the pods by address. All are looked at: it is asked seldom.
func (d *directory) At(ips []string) map[string][]*model.Workload {
	d.mu.Lock()
	all := d.mesh.Workloads
	d.mu.Unlock()
	out := map[string][]*model.Workload{}
	for _, w := range all.All() {
		for _, ip := range w.Addresses {
			if slices.Contains(ips, ip) {
				out[ip] = append(out[ip], w)
			}
		}
	}
	return out
}

// Classes returns the classes of a proxy.
func (d *directory) Classes(p model.Proxy) []model.ProxyClass {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.classifier.Classes(p)
}
