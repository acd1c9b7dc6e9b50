package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/pod"
	"github.com/weftmesh/weft/internal/source"
	"github.com/weftmesh/weft/internal/source/file"
)

// serviceRanges are where Services get their addresses; v6 is the zero prefix
// where the machine has no IPv6.
type serviceRanges struct{ v4, v6 netip.Prefix }

// Controller runs one local mesh. Its loop (reconcile) is the only writer of
// what stands below the loop mark.
type Controller struct {
	mesh    *local.Mesh
	options Options
	log     *slog.Logger
	signer  *signer
	state   *stateFolder
	control *controlPlane
	wakeup  chan struct{}
	states  chan source.State
	calls   chan func(context.Context) // what the API wants of the loop

	mu      sync.Mutex // guards what the API reads too
	runners map[string]*runner
	found   []diag.Diagnostic
	problem map[string]string // of workloads that cannot run, by key
	// hopeless are the hashes of workloads that cannot run as they are written,
	// by key; the loop's own.
	hopeless map[string]string
	wanted   map[string]*workload
	told     told
	// published are the open ports of the gateway; unpublished those that could
	// not be opened, and why.
	published, unpublished map[uint32]string

	// the loop's own
	set     config.Set
	ips     addresses
	ranges  serviceRanges
	publish *publisher
	names   *names
	stops   sync.WaitGroup
}

// Run is the local.Controllers of a mesh: it runs until ctx ends, and then
// takes everything down.
func Run(ctx context.Context, m *local.Mesh) error {
	o, err := decodeOptions(m.Config())
	if err != nil {
		return err
	}
	c := &Controller{
		mesh: m, options: o, log: slog.Default(), wakeup: make(chan struct{}, 1), states: make(chan source.State, 1), calls: make(chan func(context.Context)),
		runners: map[string]*runner{}, problem: map[string]string{}, hopeless: map[string]string{}, ranges: serviceRanges{v4: local.ServiceCIDRs()[0]},
		publish: &publisher{mesh: m, options: o, open: map[uint32]*local.Publication{}},
	}
	if err := c.prepare(ctx); err != nil {
		return err
	}
	return c.loop(ctx)
}

func (c *Controller) prepare(ctx context.Context) (err error) {
	if c.signer, err = newSigner(); err != nil {
		return err
	}
	dir, err := c.mesh.SharedDir("state")
	if err != nil {
		return err
	}
	c.state = newStateFolder(dir)
	first, err := file.Read(c.options.Dir)
	if err != nil {
		return err
	}
	if failed := c.publish.sync(ctx, first.Set, netip.Addr{}); len(failed) > 0 {
		return errors.Join(slices.Collect(maps.Values(failed))...) // a port that is taken: before anything is started
	}
	if c.names, err = startNames(ctx, c.mesh); err != nil {
		return err
	}
	c.routes()
	if c.control, err = startControlPlane(ctx, c); err != nil {
		return err
	}
	go c.followPods(ctx)
	c.ranges.v6 = c.control.serviceRangeV6()
	return nil
}

// loop brings the mesh to what the folder says, again and again.
func (c *Controller) loop(ctx context.Context) error {
	src := file.New(c.log, []string{c.options.Dir})
	failed := make(chan error, 1)
	go func() { failed <- src.Run(ctx, c.onState) }()
	for {
		select {
		case <-ctx.Done():
			return c.shutdown()
		case err := <-failed:
			if err != nil {
				_ = c.shutdown()
				return err
			}
		case st := <-c.states:
			c.set = st.Set
			c.setFindings(st.Findings)
			c.reconcile(ctx)
		case <-c.wakeup:
			c.reconcile(ctx)
		case call := <-c.calls:
			call(ctx)
		}
	}
}

// onState keeps only the latest state.
func (c *Controller) onState(st source.State) {
	select {
	case <-c.states:
	default:
	}
	c.states <- st
}

func (c *Controller) wake() {
	select {
	case c.wakeup <- struct{}{}:
	default:
	}
}

func (c *Controller) setFindings(found []diag.Diagnostic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.found = found
}

// reconcile is one step: forget what is gone, write what is, start and stop.
func (c *Controller) reconcile(ctx context.Context) {
	c.reap()
	wanted := workloads(c.set)
	c.mu.Lock()
	c.wanted = wanted
	c.mu.Unlock()
	for _, w := range wanted {
		c.reconcileWorkload(ctx, w)
	}
	c.forgetProblems(wanted)
	for key, r := range c.all() {
		_, ok := wanted[r.workload()]
		if r.role == roleMachine {
			ok = c.grouped(r)
		}
		if !ok && r.role != roleControl {
			c.log.Debug("not wanted any more", "pod", key)
			c.stop(ctx, r)
		}
	}
	c.report(ctx)
}

// report tells the pilot, pods without proxy, and the host what there is.
func (c *Controller) report(ctx context.Context) {
	facts := c.facts()
	svcs := services(c.set, &c.ips, c.ranges)
	if err := c.state.sync(observed(svcs, facts)); err != nil {
		c.log.Error("write state for the pilot", "error", err)
	}
	c.tell(facts)
	c.names.sync(svcs, facts)
	if err := c.mesh.SetServices(clusterServices(svcs, facts)); err != nil {
		c.log.Error("addresses of services", "error", err)
	}
	failed := c.publish.sync(ctx, c.set, c.gatewayAddress())
	c.mu.Lock()
	c.published, c.unpublished = c.publish.hosts(), texts(failed)
	c.mu.Unlock()
}

// told is what the state folder says: what a pod has become since then, the
// pilot cannot know.
type told struct {
	generation int64
	ready      map[string]bool // by "NAMESPACE/POD"
}

func (c *Controller) tell(facts []podFacts) {
	t := told{generation: c.state.generation, ready: map[string]bool{}}
	for _, f := range facts {
		t.ready[f.pod.Namespace+"/"+f.pod.Name] = f.ready
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = t
}

func (c *Controller) all() map[string]*runner {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]*runner, len(c.runners))
	for k, r := range c.runners {
		out[k] = r
	}
	return out
}

// reap forgets pods that are gone.
func (c *Controller) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, r := range c.runners {
		r.mu.Lock()
		gone := r.gone
		r.mu.Unlock()
		if gone {
			delete(c.runners, key)
		}
	}
}

func (c *Controller) facts() (out []podFacts) {
	for _, r := range c.all() {
		if f := r.facts(); f.pod.Namespace != SystemNamespace || r.role == roleGateway {
			out = append(out, f)
		}
	}
	return out
}

func (c *Controller) gatewayAddress() netip.Addr {
	for _, r := range c.all() {
		if f := r.facts(); r.role == roleGateway && f.ready && !f.terminating {
			return netip.MustParseAddr(f.pod.Status.PodIP)
		}
	}
	return netip.Addr{}
}

func (c *Controller) reconcileWorkload(ctx context.Context, w *workload) {
	var members []member
	for key, r := range c.all() {
		if f := r.facts(); r.workload() == w.key() && r.role != roleMachine && !f.terminating {
			members = append(members, member{key: key, hash: r.hash, ready: f.ready, born: r.born.UnixNano()})
		}
	}
	start, stop := plan(members, w.replicas, w.hash)
	for _, key := range stop {
		c.stop(ctx, c.all()[key])
	}
	if start > 0 && c.hopeless[w.key()] == w.hash {
		return // until it is written otherwise
	}
	problem := ""
	for range start {
		if err := c.start(ctx, w); err != nil {
			problem = err.Error()
			break
		}
	}
	c.setProblem(w, problem)
}

// forgetProblems drops those of workloads that are not wanted any more.
func (c *Controller) forgetProblems(wanted map[string]*workload) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.problem, func(key, _ string) bool { return wanted[key] == nil })
	maps.DeleteFunc(c.hopeless, func(key, hash string) bool { return wanted[key] == nil || wanted[key].hash != hash })
}

// setProblem keeps why a workload does not run; an empty problem: all of it was
// started.
func (c *Controller) setProblem(w *workload, problem string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.problem[w.key()] = problem; problem == "" {
		delete(c.problem, w.key())
	}
}

// start makes one pod of a workload.
func (c *Controller) start(ctx context.Context, w *workload) error {
	addrs, err := c.mesh.NewAddresses()
	if err != nil {
		return err
	}
	p := w.pod(addrs)
	token, err := c.signer.token(p)
	if err != nil {
		return err
	}
	spec, err := podSpec(p, w.role, token, c.surroundings())
	if err != nil {
		c.hopeless[w.key()] = w.hash
		c.mesh.FreeAddresses(addrs)
		return err
	}
	return c.run(ctx, w.newRunner(c, p), spec)
}

func (c *Controller) surroundings() surroundings {
	return surroundings{
		options: c.options, set: c.set, mark: c.mesh.ProxyMark(), runDir: c.mesh.RunDir(), dns: c.mesh.GatewayAddresses(),
		pilot: c.control.pilot, ca: c.control.ca, roots: c.control.roots,
	}
}

// run starts a runner's pod and keeps it.
func (c *Controller) run(ctx context.Context, r *runner, spec pod.Spec) error {
	key := r.spec.Namespace + "/" + r.spec.Name
	c.mu.Lock()
	c.runners[key] = r
	c.mu.Unlock()
	if err := r.start(ctx, spec); err != nil {
		c.mu.Lock()
		delete(c.runners, key)
		c.mu.Unlock()
		return err
	}
	return nil
}

func (c *Controller) stop(ctx context.Context, r *runner) {
	if r == nil {
		return
	}
	c.stops.Go(func() { r.stop(context.WithoutCancel(ctx), leave) })
}

// shutdown ends all pods: the gateway first, then apps, then the control plane.
func (c *Controller) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	for _, role := range []role{roleGateway, roleMachine, roleApp, roleControl} {
		var wg sync.WaitGroup
		for _, r := range c.all() {
			if r.role == role {
				wg.Go(func() { r.stop(ctx, 0) })
			}
		}
		wg.Wait()
	}
	c.stops.Wait()
	return nil
}

// awaitRoots waits for the CA's root certificate.
func awaitRoots(ctx context.Context, file string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if text, err := os.ReadFile(file); err == nil && len(text) > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the CA wrote no root certificate to %s: %w", file, ctx.Err())
		case <-tick.C:
		}
	}
}
