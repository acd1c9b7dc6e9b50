package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/pod"
)

// runner is one pod from its start to its end. Its fields below mu are read by
// the API.
type runner struct {
	mesh  *local.Mesh
	spec  *corev1.Pod
	role  role
	hash  string
	log   *slog.Logger
	wake  func() // tells the controller that something changed
	born  time.Time
	grace time.Duration
	entry *unstructured.Unstructured // of a machine; else nil

	mu          sync.Mutex
	pod         *pod.Pod
	ready       map[string]bool // by process
	ends        map[string]int  // how often each process has ended
	terminating bool
	reason      string // why it is not ready
	gone        bool
	stopWatch   context.CancelFunc
}

// start runs the pod and its probes; it returns when the pod is started or
// cannot be.
func (r *runner) start(ctx context.Context, spec pod.Spec) error {
	p, err := r.mesh.StartPod(ctx, spec, r.onEvent)
	if err != nil {
		return fmt.Errorf("pod %s/%s: %w", r.spec.Namespace, r.spec.Name, err)
	}
	watching, cancel := context.WithCancel(context.Background())
	r.mu.Lock()
	r.pod, r.stopWatch = p, cancel
	r.mu.Unlock()
	go r.watchEnd(p)
	go r.watchStart(watching, p)
	return nil
}

func (r *runner) watchEnd(p *pod.Pod) {
	<-p.Done()
	r.mu.Lock()
	r.gone = true
	r.stopWatch()
	r.mu.Unlock()
	r.wake()
}

func (r *runner) target(p *pod.Pod) target {
	return target{pod: p, spec: r.spec, ip: p.Spec().Addresses[0]}
}

func (r *runner) hasProxy() bool {
	return r.role == roleGateway || hasSidecar(r.spec) || isProxyless(r.spec)
}

// watchStart releases the app once the proxy is ready, and probes both.
func (r *runner) watchStart(ctx context.Context, p *pod.Pod) {
	t := r.target(p)
	if r.hasProxy() {
		released := false
		go watchReadiness(ctx, schedule{period: time.Second, success: 1, failure: 3}, r.sameRun(proxyProcess, t.proxyReady), verdict{r, proxyProcess, func() {
			if !released {
				released = true
				r.release(ctx, p)
			}
		}})
		return
	}
	r.probeApps(ctx, t)
}

// proxyReady asks the agent, through Envoy if there is one, as a kubelet would.
func (t target) proxyReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, readyURL(t.spec), nil)
	if err != nil {
		return err
	}
	return fetchOK(t.pod, req)
}

func (r *runner) release(ctx context.Context, p *pod.Pod) {
	for _, c := range r.apps() {
		if err := p.Release(c.Name); err != nil {
			r.log.Error("start app", "pod", r.spec.Name, "container", c.Name, "error", err)
		}
	}
	r.probeApps(ctx, r.target(p))
}

// apps are the containers that run here: a machine's process is its owner's.
func (r *runner) apps() []corev1.Container {
	if r.role == roleMachine {
		return nil
	}
	return r.spec.Spec.Containers
}

func (r *runner) probeApps(ctx context.Context, t target) {
	for _, c := range r.spec.Spec.Containers {
		if c.ReadinessProbe == nil {
			r.setReady(c.Name, true, nil)
		} else {
			as := c.Name
			if r.role == roleMachine {
				as = "" // as commands of its owner
			}
			probe := func(ctx context.Context) error { return t.probe(ctx, as, c.ReadinessProbe) }
			go watchReadiness(ctx, scheduleOf(c.ReadinessProbe), r.sameRun(c.Name, probe), verdict{r, c.Name, nil})
		}
		if c.LivenessProbe != nil {
			go watchLiveness(ctx, scheduleOf(c.LivenessProbe),
				func(ctx context.Context) error { return t.probe(ctx, c.Name, c.LivenessProbe) },
				func(err error) { r.onDead(t.pod, c.Name, err) })
		}
	}
}

func (r *runner) onDead(p *pod.Pod, container string, cause error) {
	r.log.Warn("liveness probe failed; the container is restarted", "pod", r.spec.Name, "container", container, "error", cause)
	r.setReady(container, false, fmt.Errorf("liveness: %w", cause))
	if err := p.Restart(container, r.grace); err != nil {
		r.log.Error("restart", "pod", r.spec.Name, "container", container, "error", err)
	}
}

// onEvent follows processes: a container that ended is not ready. An agent
// that ended leaves its Envoy running, and is soon back: its probe decides.
func (r *runner) onEvent(e pod.Event) {
	switch e.Kind {
	case pod.Exited, pod.Failed:
		why := fmt.Errorf("exited with code %d", e.Code)
		switch {
		case e.Error != "":
			why = errors.New(strings.TrimPrefix(e.Error, fmt.Sprintf("process %q: ", e.Process)))
		case e.Signal != 0:
			why = fmt.Errorf("killed by %v", e.Signal)
		}
		r.mu.Lock()
		r.ends[e.Process]++
		r.mu.Unlock()
		if e.Process != proxyProcess || e.Kind == pod.Failed {
			r.setReady(e.Process, false, why)
		}
	case pod.BackOff: // its end was told before
	case pod.Started:
		r.log.Debug("started", "pod", r.spec.Name, "process", e.Process, "pid", e.PID)
		if c := r.container(e.Process); c != nil && c.ReadinessProbe == nil && e.Restarts > 0 {
			r.setReady(e.Process, true, nil)
		}
	}
}

func (r *runner) container(name string) *corev1.Container {
	for i := range r.spec.Spec.Containers {
		if c := &r.spec.Spec.Containers[i]; c.Name == name {
			return c
		}
	}
	return nil
}

// verdict is where the probe of one process reports to.
type verdict struct {
	r       *runner
	process string
	onReady func() // may be nil
}

func (v verdict) ready() bool {
	v.r.mu.Lock()
	defer v.r.mu.Unlock()
	return v.r.ready[v.process]
}

func (v verdict) turn(ok bool, why error) {
	v.r.setReady(v.process, ok, why)
	if ok && v.onReady != nil {
		v.onReady()
	}
}

// sameRun makes a probe fail whose process ended while it ran: its success is
// of the past.
func (r *runner) sameRun(process string, probe func(context.Context) error) func(context.Context) error {
	ends := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.ends[process]
	}
	return func(ctx context.Context) error {
		before := ends()
		if err := probe(ctx); err != nil {
			return err
		}
		if ends() != before {
			return fmt.Errorf("%s ended while it was probed", process)
		}
		return nil
	}
}

func (r *runner) setReady(container string, ok bool, err error) {
	r.mu.Lock()
	r.ready[container] = ok
	r.note(container, err)
	r.mu.Unlock()
	r.wake()
}

// note keeps why the pod is not ready.
func (r *runner) note(process string, err error) {
	r.reason = ""
	if err != nil {
		r.reason = process + ": " + err.Error()
	}
}

// isReady reports whether the pod takes traffic. r.mu is held.
func (r *runner) isReady() bool {
	if r.gone || r.pod == nil || r.hasProxy() && !r.ready[proxyProcess] {
		return false
	}
	for _, c := range r.spec.Spec.Containers {
		if !r.ready[c.Name] {
			return false
		}
	}
	return true
}

// facts is what endpoints and plans depend on.
func (r *runner) facts() podFacts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return podFacts{pod: r.spec, ready: r.isReady(), terminating: r.terminating, entry: r.entry}
}

// leave is how long a pod goes on after it was taken out of the endpoints, so
// that every client has heard of it before the app stops to listen.
const leave = 300 * time.Millisecond

// stop ends the pod in order. It returns when nothing of it is left.
func (r *runner) stop(ctx context.Context, wait time.Duration) {
	r.mu.Lock()
	already, p := r.terminating, r.pod
	r.terminating = true
	r.mu.Unlock()
	if already || p == nil {
		return
	}
	r.wake()
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
	if err := p.Stop(ctx, r.grace); err != nil {
		r.log.Error("stop", "pod", r.spec.Name, "error", err)
		p.Kill()
	}
	<-p.Done()
}
