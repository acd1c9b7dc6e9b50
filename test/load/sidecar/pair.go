package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/test/weftcli"
)

// manifest is one Deployment and its Service; NAME, SELF and NOTE are filled in.
const manifest = `apiVersion: v1
kind: Service
metadata: {name: NAME}
spec:
  selector: {app: NAME}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME, version: v1}, annotations: {sidecar.istio.io/inject: "INJECT"}}
    spec:
      terminationGracePeriodSeconds: 2
      serviceAccountName: NAME
      containers:
      - name: app
        command: [SELF, -role, serve]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
`

// silent takes a pod's metrics away, those of its access-log entries too.
const silent = `apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  metrics: [{providers: [{name: prometheus}], overrides: [{disabled: true}]}]
---
`

// inSight is one more service, of two hosts that nobody calls.
const inSight = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: more-NUMBER}
spec:
  hosts: [more-NUMBER.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{name: http, number: 80, protocol: HTTP}]
  endpoints: [{address: 192.0.2.1}, {address: 192.0.2.2}]
---
`

// way is how load goes from a client to a server.
type way int

// The ways: without sidecars, with, and with such that do not count.
const (
	plain way = iota
	full
	uncounted
	ways
)

// The pods of each way.
var (
	clients = [ways]string{"plain-client", "client", "silent-client"}
	servers = [ways]string{"plain-server", "server", "silent-server"}
)

// writeFolder writes the mesh of the measurement, with more services in sight.
func writeFolder(dir, self string, more int) error {
	var text strings.Builder
	for w := range ways {
		for _, name := range []string{clients[w], servers[w]} {
			text.WriteString(strings.NewReplacer("NAME", name, "SELF", self, "INJECT", strconv.FormatBool(w != plain)).Replace(manifest))
			if w == uncounted {
				text.WriteString(strings.ReplaceAll(silent, "NAME", name))
			}
		}
	}
	for n := range more {
		text.WriteString(strings.ReplaceAll(inSight, "NUMBER", strconv.Itoa(n)))
	}
	return os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(text.String()), 0o644)
}

// start brings up a mesh of dir; the caller calls stop.
func start(ctx context.Context, o options, dir string) (m *weftcli.Mesh, stop func() error, err error) {
	weft, err := filepath.Abs(o.weft)
	if err != nil {
		return nil, nil, err
	}
	port, err := weftcli.FreePort(ctx)
	if err != nil {
		return nil, nil, err
	}
	m = &weftcli.Mesh{Binary: weft, Dir: dir, Name: fmt.Sprintf("load-%d", os.Getpid())}
	stop = func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return m.Down(ctx)
	}
	up, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := m.Up(up, fmt.Sprintf("80=127.0.0.1:%d", port)); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return m, stop, nil
}

// pair are the figures of pairs of sidecars.
type pair struct {
	rate             float64
	turns            []turn
	requests         int        // of each way, that count
	clients, servers [ways]cost // none of plain
}

// turn is a time of load by each way.
type turn struct {
	by   [ways]quantiles
	busy float64 // share of the machine's CPUs that were at work, by whomever
}

// cost of one sidecar.
type cost struct {
	sidecar
	perRequest float64 // CPU of Envoy, microseconds
}

func measurePair(ctx context.Context, o options) (p pair, err error) {
	dir, err := os.MkdirTemp("", "weft-load-")
	if err != nil {
		return p, err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return p, err
	}
	if err := writeFolder(dir, self, o.services); err != nil {
		return p, err
	}
	m, stop, err := start(ctx, o, dir)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	r := &pairRun{options: o, mesh: m, self: self, pods: map[string]weftcli.Pod{}}
	for _, name := range append(clients[:], servers[:]...) {
		pods, err := m.PodsOf(ctx, name)
		if err != nil {
			return p, err
		}
		r.pods[name] = pods[0]
	}
	return r.measure(ctx)
}

// pairRun is a measurement under way.
type pairRun struct {
	options
	mesh *weftcli.Mesh
	self string
	pods map[string]weftcli.Pod // by Deployment
}

func (r *pairRun) measure(ctx context.Context) (p pair, err error) {
	p.rate, p.requests = r.rate, r.slices*int(r.rate*r.slice.Seconds())
	var meters []*meter
	for w := full; w < ways; w++ {
		meters = append(meters, &meter{of: w, cost: &p.clients[w], pod: r.pods[clients[w]]}, &meter{of: w, cost: &p.servers[w], pod: r.pods[servers[w]]})
	}
	for _, m := range meters {
		if m.envoy, err = find("envoy", "WEFT_POD="+m.pod.Name); err != nil {
			return p, err
		}
	}
	for n := range r.slices {
		one, err := r.turn(ctx, way(n%int(ways)), meters)
		if err != nil {
			return p, err
		}
		p.turns = append(p.turns, one)
	}
	for _, m := range meters {
		m.settle()
		if m.cost.sidecar, err = measureSidecar(ctx, r.mesh, m.pod); err != nil {
			return p, err
		}
	}
	return p, nil
}

// turn fires by all ways. Each goes first in its turn, so that a drift of the
// machine meets all.
func (r *pairRun) turn(ctx context.Context, first way, meters []*meter) (t turn, err error) {
	busy, all := machine()
	for n := range ways {
		w := (first + n) % ways
		if t.by[w], err = r.fire(ctx, w, meters); err != nil {
			return t, err
		}
	}
	busyNow, allNow := machine()
	t.busy = (busyNow - busy) / max(1, allNow-all)
	return t, nil
}

// fire sends load from the client's pod and notes what came of it.
func (r *pairRun) fire(ctx context.Context, w way, meters []*meter) (q quantiles, err error) {
	for _, m := range meters {
		if err := m.start(); err != nil {
			return q, err
		}
	}
	var out outcome
	err = r.mesh.ExecJSON(ctx, &out, r.pods[clients[w]].Name, r.self, "-role=fire", "-url=http://"+servers[w]+"/",
		fmt.Sprintf("-rate=%g", r.rate), "-slice="+r.slice.String())
	if err != nil {
		return q, err
	}
	for _, m := range meters {
		if err := m.stop(m.of == w, out.Sent); err != nil {
			return q, err
		}
	}
	return quantilesOf(out.Micros), nil
}

// meter measures the CPU time of an Envoy: what the turns with load through it
// take, less what it takes for as long when idle.
type meter struct {
	of                    way
	pod                   weftcli.Pod
	cost                  *cost
	envoy                 process
	before                float64
	began                 time.Time
	busy, idle            float64 // CPU seconds
	busySpan, idleSpan    time.Duration
	requestsThroughItself int
}

func (m *meter) start() (err error) {
	m.began = time.Now()
	m.before, err = m.envoy.cpu()
	return err
}

func (m *meter) stop(loaded bool, requests int) error {
	now, err := m.envoy.cpu()
	if err != nil {
		return err
	}
	if loaded {
		m.busy += now - m.before
		m.busySpan += time.Since(m.began)
		m.requestsThroughItself += requests
	} else {
		m.idle += now - m.before
		m.idleSpan += time.Since(m.began)
	}
	return nil
}

func (m *meter) settle() {
	if m.requestsThroughItself > 0 && m.idleSpan > 0 {
		own := m.busy - m.idle*m.busySpan.Seconds()/m.idleSpan.Seconds()
		m.cost.perRequest = own / float64(m.requestsThroughItself) * 1e6
	}
}
