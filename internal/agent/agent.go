package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/internal/agent/appprobe"
	"github.com/weftmesh/weft/internal/agent/bootstrap"
	"github.com/weftmesh/weft/internal/agent/counts"
	"github.com/weftmesh/weft/internal/agent/ejections"
	"github.com/weftmesh/weft/internal/agent/envoy"
	"github.com/weftmesh/weft/internal/agent/health"
	"github.com/weftmesh/weft/internal/agent/nameserver"
	"github.com/weftmesh/weft/internal/agent/overflows"
	"github.com/weftmesh/weft/internal/agent/scrape"
	"github.com/weftmesh/weft/internal/agent/sds"
	"github.com/weftmesh/weft/internal/agent/tap"
	"github.com/weftmesh/weft/internal/agent/xdsproxy"
	"github.com/weftmesh/weft/internal/counted"
	"github.com/weftmesh/weft/internal/enroll"
	live "github.com/weftmesh/weft/internal/tap"
)

// agent is the parts of a running agent. certificates and names are nil where
// the options want none.
type agent struct {
	o            Options
	net          network
	registry     *prometheus.Registry
	certificates *enroll.Manager
	secrets      *sds.Server
	external     *sds.Upstream // instead of certificates, for Envoy; nil: there is none
	pilot        *xdsproxy.Pilot
	names        *nameserver.Table
	resolver     *nameserver.Server
	admin        *envoy.Admin
	ejections    *ejections.Watcher
	overflows    *overflows.Watcher
	envoy        *envoy.Supervisor
	relay        *grpc.Server
	secretServer *grpc.Server
	logs         *grpc.Server // what Envoy logs to weft tap
	tap          *tap.Server
	countServer  *grpc.Server // what Envoy logs for the agent to count
	counts       *counts.Ledger
	status       *status
	health       *health.Reporter // nil: the pilot is told nothing
	bound        sockets
	began        time.Time
}

// Run runs an agent until it is told to quit, then drains and stops Envoy and
// returns nil. An agent that is killed leaves Envoy running; the next one in the
// same run directory adopts it.
//
// Errors: the options cannot be, a port is taken, Envoy cannot be started, or
// another agent uses the run directory.
func Run(orders Orders, o Options) error {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return err
	}
	lock, err := claim(orders.Quit, o)
	if err != nil {
		return err
	}
	defer lock.Close()
	if o.Proxyless {
		return runProxyless(orders, o)
	}
	a, err := assemble(orders.Quit, o)
	if err != nil {
		return err
	}
	defer a.pilot.Close()
	return a.run(orders)
}

// assemble makes every part and opens every socket; nothing runs yet.
func assemble(ctx context.Context, o Options) (*agent, error) {
	a, err := newAgent(o)
	if err != nil {
		return nil, err
	}
	a.bound, err = listen(ctx, o)
	return a, err
}

// newAgent makes every part.
func newAgent(o Options) (*agent, error) {
	a := &agent{o: o, began: time.Now(), net: network{mark: o.SocketMark}, registry: prometheus.NewRegistry()}
	istio := prometheus.WrapRegistererWithPrefix("istio_agent_", a.registry)
	own := prometheus.WrapRegistererWithPrefix("weft_agent_", a.registry)
	a.registry.MustRegister(counted.Build("proxy", o.Node.Version))
	istio.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, step := range []func(istio, own prometheus.Registerer) error{
		a.makeCertificates, a.makePilot, a.makeNames, a.makeEnvoy, a.makeTap, a.makeCounts, a.makeStatus,
	} {
		if err := step(istio, own); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a *agent) makeCertificates(_, own prometheus.Registerer) error {
	a.secrets = sds.New(a.o.Log.With("part", "sds"))
	a.secretServer = grpc.NewServer(grpc.MaxConcurrentStreams(64))
	a.secrets.Register(a.secretServer)
	if !a.o.certified() {
		return nil
	}
	held := func() enroll.Held {
		chain, roots := a.secrets.Taken()
		return enroll.Held{Chain: chain, Roots: roots}
	}
	if a.external = newExternal(a.o, a.secrets, own); a.external != nil {
		held = nil // the CA's certificate is the agent's alone
	}
	var err error
	a.certificates, err = newCertificates(a.o, a.net, enroll.NewMetrics(a.registry), held)
	return err
}

func (a *agent) makePilot(istio, own prometheus.Registerer) error {
	log := a.o.Log.With("part", "xds")
	o := xdsproxy.PilotOptions{
		Addresses: a.o.Pilot.Addresses, Control: a.net.control(), Log: log,
		Metrics: xdsproxy.NewMetrics(istio, own),
	}
	if !a.o.Pilot.Insecure {
		o.TLS = a.certificates.ClientTLS(a.o.Pilot.ID)
		o.Ready = func(ctx context.Context) error {
			_, err := a.certificates.Wait(ctx)
			return err
		}
	}
	var err error
	if a.pilot, err = xdsproxy.NewPilot(o); err != nil {
		return err
	}
	a.relay = xdsproxy.NewServer(a.pilot, o.Metrics, log)
	return nil
}

func (a *agent) makeNames(istio, _ prometheus.Registerer) error {
	if !a.o.DNS.answers() {
		return nil
	}
	log := a.o.Log.With("part", "dns")
	upstream, search, err := resolvers(a.o)
	if err != nil {
		return err
	}
	a.names = nameserver.NewTable(search).For(a.o.Node.IPs)
	if err := a.names.Load(a.o.namesFile()); err != nil {
		log.Warn("names of the agent before are not taken", "error", err)
	}
	forward, err := nameserver.NewForwarder(upstream, a.net.control(), log)
	if err != nil && !errors.Is(err, nameserver.ErrNoUpstream) {
		return err
	}
	a.resolver = nameserver.NewServer(a.names, forward, istio, log)
	return nil
}

func (a *agent) makeEnvoy(_, own prometheus.Registerer) error {
	config, err := bootstrap.JSON(bootstrap.Config{
		Node: a.o.Node, Ports: a.o.Ports, SocketMark: a.o.SocketMark, MaxConnections: a.o.Envoy.MaxConnections, MaxHeap: heapLimit(cgroups),
		Stats: a.o.Envoy.Stats, Runtime: a.o.Envoy.Runtime, InboundLimit: a.o.Envoy.InboundLimit,
		AccessLogs: a.readable("access logs", a.o.Envoy.AccessLogs), Metrics: a.readable("statistics", withinMinute(a.o.Envoy.Metrics)), Statsd: a.statsd(),
		XDSSocket: a.o.socket("xds.sock"), SDSSocket: a.o.socket("sds.sock"), TapSocket: a.o.socket("tap.sock"),
		CountSocket: a.o.socket("count.sock"), AdminSocket: a.o.socket(adminSocket), EjectionLog: a.o.socket(ejectionLog),
	})
	if err != nil {
		return err
	}
	a.admin = envoy.NewAdmin(a.o.socket(adminSocket))
	a.ejections = ejections.New(ejections.Options{
		Log: a.o.socket(ejectionLog), Out: a.admin.Out, Metrics: a.registry, Logger: a.o.Log.With("part", "ejections"),
		Pilot: ejections.Pilot{Conn: a.pilot, Node: a.ownNode()},
	})
	a.overflows = overflows.New(overflows.Options{Counts: a.admin.Overflows, Limits: a.admin.Limits, Metrics: a.registry, Logger: a.o.Log.With("part", "overflows")})
	a.envoy = envoy.New(envoy.Options{
		Path: a.o.Envoy.Path, Args: a.o.arguments(), Env: a.o.environment(), Bootstrap: config,
		RunDir: a.o.RunDir, Output: a.o.Envoy.Output, Log: a.o.Log.With("part", "envoy"), Metrics: own,
	})
	return nil
}

// adminSocket is where in the run directory Envoy serves its administration.
const adminSocket = "admin.sock"

// ejectionLog is where in the run directory Envoy says whom it ejects.
const ejectionLog = "ejections.log"

// tapKey has Envoy log to the agent, in per cent of what there is: as the pilot
// names it in what it sends.
const tapKey = "weft.tap"

func (a *agent) makeTap(_, own prometheus.Registerer) error {
	n := a.o.Node
	a.tap = tap.New(tap.Options{
		Self: live.Peer{Namespace: n.Namespace, Workload: n.Workload, Pod: n.Name}, PID: a.envoy.PID,
		Log: func(ctx context.Context, on bool) error {
			share := "0"
			if on {
				share = "100"
			}
			return a.admin.Runtime(ctx, tapKey, share)
		},
		Logger: a.o.Log.With("part", "tap"), Metrics: own,
	})
	a.logs = grpc.NewServer(grpc.MaxConcurrentStreams(256))
	a.tap.Register(a.logs)
	return nil
}

func (a *agent) makeCounts(_, own prometheus.Registerer) error {
	a.counts = counts.New(counts.Options{Envoy: a.envoy.Identity, File: a.o.countsFile(), Log: a.o.Log.With("part", "counts"), Metrics: own})
	a.countServer = grpc.NewServer(grpc.MaxConcurrentStreams(256))
	a.counts.Register(a.countServer)
	return nil
}

func (a *agent) makeStatus(istio, own prometheus.Registerer) error {
	ports := a.o.Ports
	metrics, err := scrape.AppURL(a.o.AppAnnotations, ports.Status, ports.Prometheus)
	if err != nil {
		return err
	}
	page := scrape.New(scrape.Options{
		Own: a.registry, Metrics: istio, Ours: own, App: metrics, Samples: a.o.MeshSamples, AppSamples: a.o.AppSamples, Log: a.o.Log.With("part", "metrics"),
		Envoy: "http://" + loopbackPort(ports.Prometheus) + "/stats/prometheus", Counted: a.counts.Counted,
	})
	a.status = newStatus(a.o.Log.With("part", "status"), page, a.ready, istio, a.envoy.Dialled)
	probes, err := appprobe.Parse(a.o.AppProbes)
	if err != nil {
		return fmt.Errorf("agent: ISTIO_KUBE_APP_PROBERS: %w", err)
	}
	app := appprobe.New(probes, a.o.Node.IPs[0], a.o.Log.With("part", "probes"))
	if a.health, err = a.newReporter(app); err != nil {
		return err
	}
	a.status.Handle("GET "+appprobe.HealthPrefix, app)
	a.status.Handle("GET "+appprobe.LifecyclePrefix, app)
	a.status.HandleFunc("GET /drained", a.serveDrained)
	a.status.HandleFunc("GET /"+live.Path, fromPod(a.envoy.Dialled, a.tap.ServeHTTP))
	return nil
}

// ownNode is as whom the agent itself speaks to the pilot.
func (a *agent) ownNode() *corev3.Node {
	out := a.o.Node.Proto()
	out.UserAgentName = "weft-agent"
	return out
}

// newReporter is nil where no probe is given: a kubelet asks.
func (a *agent) newReporter(app *appprobe.Handler) (*health.Reporter, error) {
	probe, err := health.Parse(a.o.HealthProbe)
	if err != nil {
		return nil, fmt.Errorf("agent: WEFT_HEALTH_PROBE: %w", err)
	}
	if probe == nil {
		return nil, nil
	}
	return &health.Reporter{Probe: *probe, Ask: app.Ask, Leaving: a.status.leaving, Node: a.ownNode(), Conn: a.pilot, Log: a.o.Log.With("part", "health")}, nil
}

// run starts the parts and returns when all have ended: Envoy first, for its
// configuration and its certificates are needed as long as it serves.
func (a *agent) run(orders Orders) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range a.parts() {
		group.Go(func() error { return part(ctx) })
	}
	group.Go(func() error { return a.drainOnRequest(ctx, orders.Drain) })
	serving, stopEnvoy := context.WithCancel(ctx)
	group.Go(func() error {
		defer cancel()
		return a.envoy.Run(serving)
	})
	group.Go(func() error {
		defer stopEnvoy()
		select {
		case <-orders.Quit.Done():
		case <-a.status.quit:
		case <-ctx.Done():
			return ctx.Err()
		}
		a.drain(ctx, orders.Hurry)
		return nil
	})
	if err := group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// parts are the loops of an agent beside Envoy's. Each runs until its context ends.
func (a *agent) parts() []func(context.Context) error {
	http := &http.Server{Handler: a.status, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	out := []func(context.Context) error{
		serving(a.relay, a.bound.xds),           // Envoy's configuration
		serving(a.secretServer, a.bound.secret), // its certificates
		serving(a.logs, a.bound.tap),            // what it tells weft tap
		serving(a.countServer, a.bound.count),   // what of it is counted here
		servingHTTP(http, a.bound.status),       // health and metrics
		a.serveAdmin,
		a.tap.Run,
		a.ejections.Run,
		a.overflows.Run,
		a.settle,
	}
	if a.certificates != nil {
		out = append(out, a.certificates.Run)
	}
	switch {
	case a.external != nil:
		out = append(out, a.external.Run)
	case a.certificates != nil:
		out = append(out, a.pushSecrets)
	}
	if a.health != nil {
		out = append(out, a.health.Run)
	}
	if a.boundsListeners() {
		out = append(out, a.boundListeners)
	}
	if a.resolver != nil {
		feed := &nameserver.Feed{Table: a.names, Node: a.ownNode(), Conn: a.pilot, Log: a.o.Log.With("part", "dns")}
		out = append(out, func(ctx context.Context) error { return a.resolver.Serve(ctx, a.bound.dns) }, feed.Run, a.keepNames)
	}
	return out
}

// serveAdmin is for people and tools, who know Istio's port.
func (a *agent) serveAdmin(ctx context.Context) error {
	p := &adminPort{to: a.o.socket(adminSocket), by: a.envoy.Dialled, log: a.o.Log.With("part", "admin")}
	return p.serve(ctx, a.bound.admin)
}

// keepNames leaves the mesh's names to the next agent. That they cannot be
// written is no reason to end this one.
func (a *agent) keepNames(ctx context.Context) error {
	err := a.names.Keep(ctx, a.o.namesFile())
	if ctx.Err() == nil {
		a.o.Log.Warn("names will be away when the agent is restarted while the pilot is", "part", "dns", "error", err)
	}
	<-ctx.Done()
	return ctx.Err()
}

// pushSecrets hands each new certificate and each new set of roots to Envoy.
func (a *agent) pushSecrets(ctx context.Context) error {
	changes, cancel := a.certificates.Subscribe()
	defer cancel()
	if _, err := a.certificates.Wait(ctx); err != nil {
		return ctx.Err()
	}
	for {
		held, revoked := a.certificates.Current(), a.certificates.Roots().Revoked()
		err := a.secrets.Set(sds.Identity{
			Chain: held.ChainPEM, Key: held.KeyPEM, Roots: a.certificates.Roots().PEM(), Lists: revoked.PEM, Whole: revoked.Chain,
		})
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changes:
		}
	}
}

// flushInterval is for files of logs: Envoy's own 10 s are long for who looks on.
const flushInterval = time.Second

// arguments are Envoy's. Its own drain time is a little longer than ours, so
// that a listener being drained takes connections until the end.
func (o Options) arguments() []string {
	drain := int((o.Drain.Max + 5*time.Second) / time.Second)
	args := []string{
		"--disable-hot-restart",
		"--concurrency", strconv.Itoa(o.Envoy.Concurrency),
		"--drain-time-s", strconv.Itoa(drain),
		"--drain-strategy", "immediate",
		"--log-level", o.Envoy.LogLevel,
	}
	if o.Envoy.ComponentLevel != "" {
		args = append(args, "--component-log-level", o.Envoy.ComponentLevel)
	}
	args = append(args, "--file-flush-interval-msec", strconv.FormatInt(cmp.Or(o.Envoy.FlushInterval, flushInterval).Milliseconds(), 10))
	if n := o.Envoy.FlushKB; n > 0 {
		args = append(args, "--file-flush-min-size-kb", strconv.FormatUint(uint64(n), 10))
	}
	return args
}

func loopbackPort(port uint16) string { return fmt.Sprintf("127.0.0.1:%d", port) }
