// Package pilot is the door of the discovery service: Run serves proxies,
// Check says what is wrong with a configuration, Translate gives what a proxy
// would get.
//
// In: a source of config.Sets. Out: delta ADS, metrics, debug pages,
// diagnostics. It joins the stages compile, view, translate and xds, and may
// import no other component than gateway.
package pilot

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/fair"
	"github.com/weftmesh/weft/internal/source"
	"github.com/weftmesh/weft/internal/spiffe"
	"github.com/weftmesh/weft/pilot/internal/compile"
	"github.com/weftmesh/weft/pilot/internal/jwks"
	"github.com/weftmesh/weft/pilot/internal/status"
	"github.com/weftmesh/weft/pilot/internal/xds"
)

// maxConnections bounds the connections of one xDS port; beyond it, who has most
// of them gives way.
const maxConnections = 20_000

// Default addresses, as Istio's.
const (
	DefaultXDS        = ":15012"
	DefaultMonitoring = ":15014"
	DefaultReady      = ":8080"
)

// Options of Run. An empty address opens no port.
type Options struct {
	Source source.Source
	// XDS is the address for proxies over mTLS; it needs Identity.
	XDS string
	// InsecureXDS is an address for delta-ADS clients without any proof of
	// identity. Only loopback is allowed.
	InsecureXDS string
	// Monitoring serves /metrics, /ready, /version and /debug/: to loopback
	// callers, and over TLS to workloads, which see their own namespace.
	Monitoring string
	// Ready serves /ready alone.
	Ready string
	// Identity keeps the pilot's certificate; Run runs it. May be nil without
	// XDS.
	Identity *enroll.Manager
	// Cluster is what is done for the API server of a cluster; nil: nothing.
	Cluster *Cluster
	// Keys says how keys are fetched that RequestAuthentications name by URL.
	Keys KeyFetch
	// TrustDomain that clients must be of; default "cluster.local".
	TrustDomain string
	// Version that /version shows.
	Version string
	Log     *slog.Logger         // default slog.Default()
	Metrics *prometheus.Registry // default a new one
	Started func(Addresses)      // told the addresses once all ports are open; may be nil
}

// Addresses are those that Run listens on; empty for ports not opened.
type Addresses struct{ XDS, InsecureXDS, Monitoring, Ready, Webhook string }

// KeyFetch is how key servers are asked. The zero value: none on loopback,
// link-local, multicast or metadata addresses, and https by the system's roots.
type KeyFetch struct {
	Allow []netip.Prefix // addresses that are asked though they are such
	Roots *x509.CertPool // nil: the system's
	// Refresh is how often keys are fetched; 0: every 20 minutes, as in Istio.
	Refresh time.Duration
}

// Run serves until ctx ends (then it returns nil) or a part fails. Errors name
// the address or source that failed.
func Run(ctx context.Context, o Options) error {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return err
	}
	ports, err := listen(ctx, o)
	if err != nil {
		return err
	}
	health, ejections := status.NewHealth(), status.NewEjections()
	serve := xds.Options{Metrics: o.Metrics}
	if o.Cluster != nil && !o.Cluster.NoStatus {
		serve.Health, serve.Ejected = health.Report, ejections.Report
	}
	p := &pilot{Options: o, xds: xds.NewServer(serve), health: health, ejections: ejections, inbox: newInbox(), boot: strconv.FormatInt(time.Now().UnixNano(), 36)}
	p.engine = newEngine(p.xds, o.Log, o.Metrics)
	if o.Cluster != nil {
		p.engine.keeper = &keeper{held: map[string]kept{}}
	}
	if o.Started != nil {
		o.Started(ports.addresses())
	}
	err = p.run(ctx, ports)
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		return nil
	}
	return err
}

// pilot is a running discovery service.
type pilot struct {
	Options
	xds       *xds.Server
	engine    *engine
	inbox     *inbox
	health    *status.Health
	ejections *status.Ejections
	boot      string // differs at each start
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
		o.Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	if o.TrustDomain == "" {
		o.TrustDomain = "cluster.local"
	}
	if o.Version == "" {
		o.Version = "unknown"
	}
	return o
}

func (o Options) validate() error {
	switch {
	case o.Source == nil:
		return errors.New("pilot: no source of configuration is given")
	case o.XDS == "" && o.InsecureXDS == "":
		return errors.New("pilot: neither an address for mTLS nor one for insecure xDS is given")
	case o.XDS != "" && o.Identity == nil:
		return errors.New("pilot: xDS over mTLS needs a certificate: give the CA, its root certificate and a token, or serve --insecure-xds only")
	case o.Cluster != nil && o.Cluster.Webhook != "" && o.Identity == nil:
		return errors.New("pilot: the webhook needs a certificate: give the CA, its root certificate and a token, or no address for it")
	}
	if o.InsecureXDS == "" {
		return nil
	}
	addr, err := netip.ParseAddrPort(o.InsecureXDS)
	if err != nil {
		return fmt.Errorf("pilot: insecure xDS address %q: want IP:PORT on loopback: %w", o.InsecureXDS, err)
	}
	if !addr.Addr().IsLoopback() {
		return fmt.Errorf("pilot: insecure xDS address %s is not loopback: it would hand the mesh's configuration to everyone; use 127.0.0.1:%d", o.InsecureXDS, addr.Port())
	}
	return nil
}

// ports are the open listeners; nil where none is wanted.
type ports struct{ xds, insecure, monitoring, ready, webhook net.Listener }

func listen(ctx context.Context, o Options) (p ports, err error) {
	open := func(what, addr string) net.Listener {
		if addr == "" || err != nil {
			return nil
		}
		var lis net.Listener
		if lis, err = (&net.ListenConfig{}).Listen(ctx, "tcp", addr); err != nil {
			err = fmt.Errorf("pilot: %s port: %w", what, err)
			return nil
		}
		return lis
	}
	p = ports{xds: open("xDS", o.XDS), insecure: open("insecure xDS", o.InsecureXDS), monitoring: open("monitoring", o.Monitoring), ready: open("ready", o.Ready)}
	if o.Cluster != nil {
		p.webhook = open("webhook", o.Cluster.Webhook)
	}
	if err != nil {
		p.close()
	}
	return p, err
}

func (p ports) close() {
	for _, lis := range []net.Listener{p.xds, p.insecure, p.monitoring, p.ready, p.webhook} {
		if lis != nil {
			_ = lis.Close()
		}
	}
}

func (p ports) addresses() Addresses {
	text := func(lis net.Listener) string {
		if lis == nil {
			return ""
		}
		return lis.Addr().String()
	}
	return Addresses{XDS: text(p.xds), InsecureXDS: text(p.insecure), Monitoring: text(p.monitoring), Ready: text(p.ready), Webhook: text(p.webhook)}
}

// run runs all parts; the first that fails ends the others.
func (p *pilot) run(ctx context.Context, on ports) error {
	group, ctx := errgroup.WithContext(ctx)
	keyed := jwks.New(discovered{p.Source}, jwks.Options{Check: compile.CheckKeys, Allow: p.Keys.Allow, Roots: p.Keys.Roots, Refresh: p.Keys.Refresh, Metrics: p.Metrics})
	group.Go(func() error { return keyed.Run(ctx, p.inbox.put) })
	group.Go(func() error { return p.engine.run(ctx, p.inbox) })
	if p.Identity != nil {
		if p.Cluster != nil && p.Cluster.WebhookConfig != "" {
			p.Identity.KnownTo(enroll.NotYet) // until the webhook's keeper knows the API server's
		}
		group.Go(func() error { return p.Identity.Run(ctx) })
	}
	if on.insecure != nil {
		group.Go(func() error { return serveGRPC(ctx, p.xds.GRPC(), on.insecure) })
	}
	if on.xds != nil {
		secure := credentials.NewTLS(p.Identity.ServerTLS(enroll.AllowTrustDomain(p.TrustDomain)))
		group.Go(func() error { return serveGRPC(ctx, p.xds.GRPC(grpc.Creds(secure)), on.xds) })
	}
	if on.monitoring != nil {
		group.Go(func() error { return p.serveMonitoring(ctx, on.monitoring) })
	}
	if on.ready != nil {
		group.Go(func() error { return serveHTTP(ctx, p.readiness(), fair.Listener(on.ready, maxHTTP)) })
	}
	if p.Cluster != nil {
		group.Go(func() error { return p.runCluster(ctx, on.webhook) })
	}
	return group.Wait()
}

// ready reports why proxies are not served yet; nil if they are.
func (p *pilot) ready() error {
	if !p.engine.ready() {
		if why, ok := p.Source.(interface{ Waiting() string }); ok && why.Waiting() != "" {
			return errors.New(why.Waiting())
		}
		return errors.New("no configuration was read yet")
	}
	if p.Identity != nil && p.Identity.Current() == nil {
		return errors.New("there is no certificate yet")
	}
	return nil
}

// stopGrace is how long streams may end by themselves at a stop.
const stopGrace = time.Second

func serveGRPC(ctx context.Context, g *grpc.Server, lis net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		force := time.AfterFunc(stopGrace, g.Stop)
		defer force.Stop()
		g.GracefulStop()
	})
	defer stop()
	if err := g.Serve(fair.Listener(lis, maxConnections)); err != nil && ctx.Err() == nil {
		return fmt.Errorf("pilot: serve xDS at %s: %w", lis.Addr(), err)
	}
	return nil
}

// ID is the pilot's own identity in a trust domain, in the default system
// namespace.
func ID(trustDomain string) spiffe.ID {
	return spiffe.ID{TrustDomain: trustDomain, Namespace: "weft-system", ServiceAccount: "weft-pilot"}
}
