// Package ca is the door of the certificate authority: it signs workload
// certificates for those who prove who they are.
//
// Inputs: Options, and CSRs over gRPC (istio.v1.auth.IstioCertificateService, so
// that any Istio agent can ask) with a bearer token. Outputs: certificate chains
// whose names come from the proven identity, the trusted roots in a file,
// metrics and readiness over HTTP. It may not import any other component.
package ca

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/ca/internal/issue"
	"github.com/weftmesh/weft/ca/internal/store"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/spiffe"
)

// Defaults of Options. Ports: Istio's.
const (
	DefaultListen      = ":15012"
	DefaultMonitoring  = ":15014"
	DefaultTrustDomain = "cluster.local"
	DefaultNamespace   = "weft-system"
	DefaultTTL         = issue.DefaultTTL // lifetime of a certificate
	DefaultMaxTTL      = issue.DefaultMax // longest lifetime granted
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

	Store   string // directory of the signing key; needed
	RootOut string // file to write the trusted roots to; "" for none

	// LocalIdentityKey is a PEM file with the public key that the supervisor of
	// local pods signs their tokens with; needed until the CA can ask Kubernetes.
	LocalIdentityKey string

	DefaultTTL time.Duration // lifetime of certificates; 24 h
	MaxTTL     time.Duration // longest lifetime granted; 90 days

	// DNSNames are the DNS names granted to accounts, by NAMESPACE/ACCOUNT (see
	// ParseDNSNames). No other account gets any.
	DNSNames map[string][]string

	Logger *slog.Logger // nil is slog.Default()

	// Started, if set, is called once both ports are open, with their addresses.
	Started func(listen, monitoring net.Addr)
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&o.Listen, DefaultListen}, {&o.Monitoring, DefaultMonitoring},
		{&o.TrustDomain, DefaultTrustDomain}, {&o.Namespace, DefaultNamespace},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// authority is everything that a running CA consists of.
type authority struct {
	opts    Options
	id      spiffe.ID
	store   *store.Authority
	issuer  *issue.Issuer
	proof   identity.Authenticator
	own     *enroll.Manager // the CA's own serving certificate
	metrics *metrics
	reg     *prometheus.Registry
	log     *slog.Logger
}

// Run serves until ctx is done, then lets the calls in hand finish and returns
// nil. An error names the option or file at fault.
func Run(ctx context.Context, opts Options) error {
	a, err := newAuthority(ctx, opts.withDefaults())
	if err != nil {
		return err
	}
	defer func() { _ = a.store.Close() }()
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

func (a *authority) run(stop context.Context, csr, monitoring net.Listener) error {
	group, ctx := errgroup.WithContext(stop)
	group.Go(func() error { return a.own.Run(ctx) })
	group.Go(func() error { return a.serveMonitoring(ctx, monitoring) })
	group.Go(func() error {
		if _, err := a.own.Wait(ctx); err != nil {
			return err
		}
		a.started(csr.Addr(), monitoring.Addr())
		return a.serveCSR(ctx, csr)
	})
	if err := group.Wait(); err != nil && !errors.Is(err, stop.Err()) {
		return err
	}
	a.log.Info("CA stopped")
	return nil
}

func (a *authority) started(csr, monitoring net.Addr) {
	a.log.Info("CA started", "listen", csr.String(), "monitoring", monitoring.String(), "id", a.id.String(),
		"root", a.store.Roots[0].Subject.String(), "expires", a.issuer.Expiry())
	if a.opts.Started != nil {
		a.opts.Started(csr, monitoring)
	}
}

func newAuthority(ctx context.Context, opts Options) (*authority, error) {
	id, err := spiffe.New(opts.TrustDomain, opts.Namespace, ServiceAccount)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	if opts.Store == "" || opts.LocalIdentityKey == "" {
		return nil, errors.New("ca: --store and --local-identity-key are needed")
	}
	proof, err := identity.NewLocal(opts.LocalIdentityKey, opts.TrustDomain)
	if err != nil {
		return nil, fmt.Errorf("ca: --local-identity-key: %w", err)
	}
	st, err := store.Open(opts.Store, opts.TrustDomain)
	if err != nil {
		return nil, err
	}
	a := &authority{opts: opts, id: id, store: st, proof: proof, log: opts.Logger, reg: prometheus.NewRegistry()}
	if err := a.prepare(ctx); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return a, nil
}

// prepare makes what stands on the store.
func (a *authority) prepare(ctx context.Context) (err error) {
	a.issuer, err = issue.New(ctx, issue.Options{
		Chain: a.store.Chain, Signer: a.store.Signer(), Roots: a.store.Roots,
		DefaultTTL: a.opts.DefaultTTL, MaxTTL: a.opts.MaxTTL, DNSNames: a.opts.DNSNames,
	})
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	if a.opts.RootOut != "" {
		if err := a.store.WriteRoots(a.opts.RootOut); err != nil {
			return fmt.Errorf("ca: --root-out: %w", err)
		}
	}
	roots, err := enroll.FixedRoots(a.store.RootPEM)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	a.metrics = newMetrics(a.reg, a.issuer)
	a.own = enroll.NewManager(enroll.ManagerOptions{
		Issuer: &ownIssuer{issuer: a.issuer, id: a.id}, Roots: roots, Logger: a.log.With("certificate of", "the CA itself"),
	})
	return nil
}
