// Package ca is the door of the certificate authority: it signs workload
// certificates for those who prove who they are.
//
// Inputs: Options, and CSRs over gRPC (istio.v1.auth.IstioCertificateService, so
// that any Istio agent can ask) with a bearer token; in a cluster also the API
// server, which proves the callers and keeps the key. Outputs: certificate
// chains whose names come from the proven identity, the trusted roots in a file
// or in a ConfigMap of each namespace, metrics and readiness over HTTP. It may
// not import any other component, and talks to Kubernetes only through
// ca/internal/identity and ca/internal/cluster.
package ca

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/ca/internal/issue"
	"github.com/weftmesh/weft/ca/internal/store"
	"github.com/weftmesh/weft/internal/counted"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/fair"
	"github.com/weftmesh/weft/internal/spiffe"
)

// Defaults of Options. Ports: Istio's.
const (
	DefaultListen      = ":15012"
	DefaultMonitoring  = ":15014"
	DefaultTrustDomain = "cluster.local"
	DefaultNamespace   = "weft-system"
	DefaultTTL         = issue.DefaultTTL // lifetime of a certificate
	DefaultStopDelay   = 5 * time.Second  // StopDelay of a CA in a cluster
	DefaultRootTTL     = store.RootLife   // lifetime of a root that the CA makes
	DefaultReportEvery = 5 * time.Minute  // how often a proxy says what it trusts
	// ServiceAccount is the account of the CA itself, and so with the namespace
	// the identity that clients demand from it.
	ServiceAccount = "weft-ca"
)

// Options configure Run. Empty strings and zero durations mean the defaults
// where there is one.
type Options struct {
	Listen      string // HOST:PORT of the CSR service; DefaultListen
	Monitoring  string // HOST:PORT of /metrics and /ready; DefaultMonitoring
	TrustDomain string // DefaultTrustDomain
	Namespace   string // namespace of the CA itself; DefaultNamespace

	// Kube has the API server prove the callers and keep the key, which replicas
	// then share. Kubeconfig, a file, says which one; "" is that of the pod that
	// the CA runs in. Without Kube both come from files.
	Kube       bool
	Kubeconfig string
	Replica    string // name of this replica, the pod's; "" is the host's name
	// OneNamespace, with Kube, has it serve the pods of Namespace alone, by rights
	// there alone: tokens are checked by the API server's keys.
	OneNamespace bool

	Store   string // directory of the signing key; needed without Kube
	RootOut string // file to write the trusted roots to; "" for none
	// LocalIdentityKey is a PEM file with the public key that the supervisor of
	// local pods signs their tokens with; needed without Kube.
	LocalIdentityKey string

	// StopDelay is how long the CA serves on after it was told to stop, while it
	// is not ready, so that no caller is sent to a port that is closed: the time
	// a cluster takes to withdraw an endpoint.
	StopDelay time.Duration

	DefaultTTL time.Duration // lifetime of certificates; 24 h
	MaxTTL     time.Duration // longest lifetime granted; that of DefaultTTL

	RootTTL time.Duration // lifetime of a root that the CA makes; 10 years
	// RotateBefore is how long before the end of such a root the next one takes
	// its place without anybody; 0: never.
	RotateBefore time.Duration
	// ReportEvery is how often each holder of a certificate says what it trusts; 5
	// minutes. A rotation waits at least twice as long.
	ReportEvery time.Duration
	inFlight    time.Duration // how long a certificate may be on its way; an agent's time-out
	fence       time.Duration // see the constant

	// DNSNames are the DNS names granted to accounts, by NAMESPACE/ACCOUNT (see
	// ParseDNSNames). No other account gets any, but that with Kube those of the
	// control plane have their Service's name, ACCOUNT.NAMESPACE.svc, besides.
	DNSNames map[string][]string

	Version string // that istio_build shows; "" is "unknown"

	Logger *slog.Logger // nil is slog.Default()

	// Started, if set, is called once both ports are open, with their addresses.
	Started func(listen, monitoring net.Addr)
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&o.Version, "unknown"}, {&o.Listen, DefaultListen}, {&o.Monitoring, DefaultMonitoring},
		{&o.TrustDomain, DefaultTrustDomain}, {&o.Namespace, DefaultNamespace},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if o.DefaultTTL == 0 {
		o.DefaultTTL = DefaultTTL
	}
	if o.MaxTTL == 0 {
		o.MaxTTL = o.DefaultTTL
	}
	if o.RootTTL == 0 {
		o.RootTTL = DefaultRootTTL
	}
	if o.ReportEvery == 0 {
		o.ReportEvery = DefaultReportEvery
	}
	if o.inFlight == 0 {
		o.inFlight = enroll.CallTimeout
	}
	if o.fence == 0 {
		o.fence = fence
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// authority is everything that a running CA consists of.
type authority struct {
	opts     Options
	id       spiffe.ID
	proof    identity.Authenticator
	backing  backing
	signing  atomic.Pointer[signing] // nil until the key is there
	stopping atomic.Bool
	roster   *roster
	turns    *fair.Turns // of those who ask for something
	rotator  *rotator
	reviewed reviewed
	peers    *peers       // nil without replicas
	turn     sync.RWMutex // read-held while a certificate is issued
	metrics  *metrics
	reg      *prometheus.Registry
	log      *slog.Logger
}

// Run serves until ctx is done, then for StopDelay more, lets the calls in hand
// finish and returns nil. An error names the option, file or Secret at fault.
func Run(ctx context.Context, opts Options) error {
	a, err := newAuthority(opts.withDefaults())
	if err != nil {
		return err
	}
	var listen net.ListenConfig
	csr, err := listen.Listen(ctx, "tcp", a.opts.Listen)
	if err != nil {
		return fmt.Errorf("ca: --listen: %w", err)
	}
	defer func() { _ = csr.Close() }()
	monitoring, err := listen.Listen(ctx, "tcp", a.opts.Monitoring)
	if err != nil {
		return fmt.Errorf("ca: --monitoring: %w", err)
	}
	defer func() { _ = monitoring.Close() }()
	return a.run(ctx, csr, monitoring)
}

// run works until stop is done and StopDelay has passed.
func (a *authority) run(stop context.Context, csr, monitoring net.Listener) error {
	ctx, end := context.WithCancel(context.WithoutCancel(stop))
	defer end()
	defer context.AfterFunc(stop, func() {
		a.stopping.Store(true)
		a.log.Info("CA is stopping", "serves on for", a.opts.StopDelay)
		time.AfterFunc(a.opts.StopDelay, end)
	})()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.serveMonitoring(ctx, monitoring) })
	group.Go(func() error { return a.work(ctx, stop, csr, monitoring.Addr()) })
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	a.log.Info("CA stopped")
	return nil
}

// work takes the signing key, then answers CSRs until ctx is done. A key that is
// not there yet is no longer waited for when stop is done.
func (a *authority) work(ctx, stop context.Context, csr net.Listener, monitoring net.Addr) error {
	st, err := a.backing.open(stop)
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }()
	if err := a.use(ctx, st); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.backing.follow(ctx, func(st *store.Authority) error { return a.use(ctx, st) }) })
	// The lead is given back at once, so that another replica has it meanwhile.
	leading, end := context.WithCancel(ctx)
	defer context.AfterFunc(stop, end)()
	group.Go(func() error { defer end(); return a.backing.publish(leading) })
	a.started(csr.Addr(), monitoring)
	group.Go(func() error { return a.serveCSR(ctx, csr) })
	group.Go(func() error { return a.rotator.run(ctx) })
	group.Go(func() error { return a.followLists(ctx) })
	return group.Wait()
}

func (a *authority) started(csr, monitoring net.Addr) {
	s := a.signing.Load()
	a.log.Info("CA started", "listen", csr.String(), "monitoring", monitoring.String(), "id", a.id.String(),
		"root", s.store.Roots[0].Subject.String(), "expires", s.issuer.Expiry())
	if a.opts.Started != nil {
		a.opts.Started(csr, monitoring)
	}
}

func newAuthority(opts Options) (*authority, error) {
	id, err := spiffe.New(opts.TrustDomain, opts.Namespace, ServiceAccount)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	if err := opts.checkRotation(); err != nil {
		return nil, err
	}
	a := &authority{opts: opts, id: id, log: opts.Logger, reg: prometheus.NewRegistry(), roster: newRoster(time.Now(), opts.MaxTTL), turns: fair.NewTurns(turnsAtOnce, turnsWaiting)}
	a.rotator = &rotator{authority: a}
	a.metrics = newMetrics(a.reg, a.expiry)
	a.reg.MustRegister(counted.Build("ca", opts.Version), rotationMetrics{a.rotator}, waitingGauge(a.turns), listMetrics{a})
	if opts.Kube {
		err = a.inCluster()
	} else {
		a.backing, a.proof, err = inFolder(opts)
	}
	return a, err
}

// expiry is when the key in force ends; the zero time before there is one.
func (a *authority) expiry() time.Time {
	if s := a.signing.Load(); s != nil {
		return s.issuer.Expiry()
	}
	return time.Time{}
}
