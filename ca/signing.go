package ca

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/weftmesh/weft/ca/internal/cluster"
	"github.com/weftmesh/weft/ca/internal/issue"
	"github.com/weftmesh/weft/ca/internal/store"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/spiffe"
)

// signing is a key in force with all that stands on it. It is replaced as a
// whole, so that no certificate is served beside another key's roots.
type signing struct {
	store  *store.Authority
	issuer *issue.Issuer
	own    *enroll.Manager // the CA's own serving certificate
	stop   context.CancelFunc
}

// use puts st in force until ctx is done or another one takes its place. An
// error leaves the last one in force.
func (a *authority) use(ctx context.Context, st *store.Authority) error {
	s := &signing{store: st}
	var err error
	s.issuer, err = issue.New(ctx, issue.Options{
		Chain: st.Chain, Signer: st.Signer(), CAS: st.CAS(), Roots: st.Roots,
		DefaultTTL: a.opts.DefaultTTL, MaxTTL: a.opts.MaxTTL, DNSNames: a.opts.dnsNames,
	})
	if err != nil {
		return fmt.Errorf("ca: %w", notYet(err))
	}
	roots, err := enroll.FixedRoots(st.RootPEM)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	own := &ownIssuer{issuer: s.issuer, id: a.id}
	if _, err := own.Issue(ctx); err != nil { // the manager would try for ever
		return fmt.Errorf("ca: serving certificate: %w", notYet(err))
	}
	s.own = enroll.NewManager(enroll.ManagerOptions{Issuer: own, Roots: roots, Logger: a.log.With("certificate of", "the CA itself")})
	ctx, s.stop = context.WithCancel(ctx)
	go func() { _ = s.own.Run(ctx) }() // it ends with ctx, and only then
	if _, err := s.own.Wait(ctx); err != nil {
		s.stop()
		return err
	}
	if old := a.signing.Swap(s); old != nil {
		old.stop()
	}
	return nil
}

// notYet marks what another CA's absence is to blame for.
func notYet(err error) error {
	if issue.Away(err) {
		return errors.Join(cluster.ErrNotYet, err)
	}
	return err
}

// certificate is the serving certificate of the key in force.
func (a *authority) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s := a.signing.Load()
	if s == nil {
		return nil, errors.New("there is no signing key yet")
	}
	return s.own.Certificate()
}

// epoch is what holders of certificates are told of the key in force.
func (a *authority) epoch() enroll.Answer {
	st := a.signing.Load().store
	return enroll.Answer{Signer: spiffe.Fingerprint(st.Root()), Epoch: st.State().Epoch, Next: a.opts.ReportEvery}
}
