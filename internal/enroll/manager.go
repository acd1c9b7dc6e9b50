package enroll

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/internal/spiffe"
)

const (
	// renewAt is the part of a certificate's life after which it is renewed, and
	// renewJitter the part of its life over which renewals are spread, so that
	// pods started together do not ask together.
	renewAt     = 2.0 / 3
	renewJitter = 1.0 / 20
	// retryFirst and the maxima bound the pause between failed attempts: short
	// while there is no certificate to serve, longer while the old one holds.
	retryFirst      = 100 * time.Millisecond
	retryMaxWithout = 2 * time.Second
	retryMaxWith    = 30 * time.Second
	retryGrowth     = 1.6
	// nap is the longest sleep: timers stand still while a laptop is suspended,
	// so the wall clock is read at least this often.
	nap = 30 * time.Second
)

// ManagerOptions are what a Manager works with.
type ManagerOptions struct {
	Issuer  Issuer
	Roots   *Roots
	Metrics *Metrics     // nil records nothing
	Logger  *slog.Logger // nil is slog.Default()
	// Held is what a proxy has taken of the Manager's certificate and roots, for
	// the reports to the CA; nil: all of it, at once.
	Held func() Held
}

// Manager holds the workload's current certificate. Run renews it; every other
// method may be called at any time from any goroutine.
type Manager struct {
	opts ManagerOptions

	mu      sync.RWMutex
	current *Certificate
	subs    map[chan struct{}]struct{}
	first   chan struct{} // closed when the first certificate is there
	recheck chan struct{} // the roots changed
	// renewNow: the CA signs by another root now.
	renewNow chan struct{}
	peers    atomic.Pointer[Others]
}

// NewManager makes a Manager that holds no certificate until Run has got one.
func NewManager(opts ManagerOptions) *Manager {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return &Manager{opts: opts, subs: map[chan struct{}]struct{}{}, first: make(chan struct{}), recheck: make(chan struct{}, 1), renewNow: make(chan struct{}, 1)}
}

// Others are those who verify a certificate and get their roots from elsewhere: the
// API server that calls webhooks. It gives the bundle of each, PEM; until they are
// known the CA is told nothing.
type Others func() (bundles [][]byte, known bool)

// NotYet are Others that will be known.
func NotYet() (bundles [][]byte, known bool) { return nil, false }

// KnownTo names who else must trust what this certificate chains to. The CA is told
// of a root when all of them do. Call it before Run, with NotYet if need be.
func (m *Manager) KnownTo(others Others) { m.peers.Store(&others) }

// Run gets a certificate, renews it at two thirds of its life, watches the roots
// and tells the CA what is held, until ctx is done. While the CA is away the old certificate is served.
// It returns ctx's error.
func (m *Manager) Run(ctx context.Context) error {
	var watching sync.WaitGroup
	watching.Go(func() { m.opts.Roots.watch(ctx, m.opts.Logger, m.rootsChanged) })
	if to, ok := m.opts.Issuer.(reporter); ok {
		watching.Go(func() { m.tell(ctx, to) })
	}
	defer watching.Wait()
	for {
		if err := m.renew(ctx); err != nil {
			return err
		}
		if err := m.rest(ctx, m.Current()); err != nil {
			return err
		}
	}
}

// rest returns when cert is to be renewed: at two thirds of its life, or when
// the roots changed and it no longer chains to them.
func (m *Manager) rest(ctx context.Context, cert *Certificate) error {
	due := renewalTime(time.Now(), cert.Leaf.NotAfter)
	for time.Now().Before(due) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(time.Until(due), nap)):
		case <-m.renewNow:
			m.opts.Logger.Info("the CA signs by another root; renewing now")
			return nil
		case <-m.recheck:
			if err := cert.Verify(m.opts.Roots, cert.ID); err != nil {
				m.opts.Logger.Warn("the certificate does not fit the new roots; renewing now", "error", err)
				return nil
			}
		}
	}
	return nil
}

func (m *Manager) rootsChanged() {
	select {
	case m.recheck <- struct{}{}:
	default: // a look at the roots is due already
	}
	m.notify()
}

// renew tries until it has a new certificate or ctx is done.
func (m *Manager) renew(ctx context.Context) error {
	pause := retryFirst
	for {
		cert, err := m.opts.Issuer.Issue(ctx)
		if err == nil {
			m.set(cert)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m.opts.Logger.Warn("no new certificate yet; will try again", "error", err, "have", m.Current() != nil)
		if err := sleep(ctx, max(spread(pause), toldToWait(err))); err != nil {
			return err
		}
		pause = min(time.Duration(float64(pause)*retryGrowth), m.maxPause())
	}
}

// maxPause is a tenth of what is left of the current certificate, within the
// maxima.
func (m *Manager) maxPause() time.Duration {
	cert := m.Current()
	if cert == nil {
		return retryMaxWithout
	}
	return max(min(time.Until(cert.Leaf.NotAfter)/10, retryMaxWith), retryMaxWithout)
}

// spread is d times a random factor of 0.5 to 1.
func spread(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.5 + rand.Float64()/2))
}

// renewalTime is when a certificate got at now and valid until end is renewed.
// Its life counts from now, for CAs set NotBefore back by minutes. The result
// holds no monotonic reading, so that comparing with it sees suspended time.
func renewalTime(now, end time.Time) time.Time {
	part := renewAt - renewJitter*rand.Float64()
	life := max(time.Duration(float64(end.Sub(now))*part), retryFirst)
	return now.Add(life).Round(0)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (m *Manager) set(cert *Certificate) {
	m.mu.Lock()
	had := m.current != nil
	m.current = cert
	m.mu.Unlock()
	m.opts.Roots.owned(cert)
	if !had {
		close(m.first)
	}
	m.opts.Metrics.holds(cert)
	m.opts.Logger.Info("certificate issued", "certificate", cert, "renewed", had)
	m.notify()
}

// Current is the certificate to serve, or nil before the first one. It is
// served even when it has expired: peers refuse it then and say so.
func (m *Manager) Current() *Certificate {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.current
}

// Roots are the trusted roots, kept fresh while Run runs.
func (m *Manager) Roots() *Roots { return m.opts.Roots }

// Wait returns the first certificate once it is there, or ctx's error.
func (m *Manager) Wait(ctx context.Context) (*Certificate, error) {
	select {
	case <-m.first:
		return m.Current(), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("enroll: no certificate: %w", ctx.Err())
	}
}

// Subscribe returns a channel that receives after the certificate or the roots
// changed. Changes that come faster than they are read are merged into one: read
// Current and Roots after each. cancel ends the subscription; the channel is
// never closed.
func (m *Manager) Subscribe() (changes <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.subs[c] = struct{}{}
	return c, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.subs, c)
	}
}

func (m *Manager) notify() {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for c := range m.subs {
		select {
		case c <- struct{}{}:
		default: // a change is already announced and not yet read
		}
	}
}

// Certificate is a CertificateFunc over Current.
func (m *Manager) Certificate() (*tls.Certificate, error) {
	cert := m.Current()
	if cert == nil {
		return nil, errors.New("enroll: there is no certificate yet")
	}
	return cert.TLS(), nil
}

// ServerTLS is ServerTLS with this Manager's certificate and roots.
func (m *Manager) ServerTLS(allow Authorize) *tls.Config {
	return ServerTLS(m.Certificate, m.opts.Roots, allow)
}

// ClientTLS is ClientTLS with this Manager's certificate and roots, for a server
// that must prove one of ids.
func (m *Manager) ClientTLS(ids ...spiffe.ID) *tls.Config {
	return ClientTLS(m.Certificate, m.opts.Roots, AllowIDs(ids...))
}
