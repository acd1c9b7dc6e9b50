package ca

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/weftmesh/weft/ca/internal/cluster"
	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/ca/internal/store"
	"github.com/weftmesh/weft/internal/enroll"
)

// backing keeps the signing key, and makes the trusted roots known.
type backing interface {
	// open returns the key, made where there is none.
	open(context.Context) (*store.Authority, error)
	// follow calls use with each key that takes the place of the last, until the
	// context is done.
	follow(context.Context, func(*store.Authority) error) error
	// save keeps parts in the place of those of st, then has use take what they
	// are. After a crash either all of them are there or none.
	save(ctx context.Context, st *store.Authority, parts store.Parts, use func(*store.Authority) error) error
	// mayRotate reports why another root of ours cannot take the place of the one in
	// force; nil if it can.
	mayRotate() error
	// drives reports whether this process is the one that moves a rotation on.
	drives() bool
	// lists is what is said of revoked certificates, PEM; empty: nothing.
	lists() ([]byte, error)
	// publish makes the roots known to workloads, until the context is done.
	publish(context.Context) error
}

// folder is a backing of files: one CA process, one key.
type folder struct{ opts Options }

func inFolder(opts Options) (backing, identity.Authenticator, error) {
	if opts.Store == "" || opts.LocalIdentityKey == "" {
		return nil, nil, errors.New("ca: --store and --local-identity-key are needed without --kube")
	}
	proof, err := identity.NewLocal(opts.LocalIdentityKey, opts.TrustDomain)
	if err != nil {
		return nil, nil, fmt.Errorf("ca: --local-identity-key: %w", err)
	}
	return folder{opts}, proof, nil
}

func (f folder) open(context.Context) (*store.Authority, error) {
	st, err := store.Open(f.opts.Store, f.opts.TrustDomain, f.opts.RootTTL)
	if err != nil || f.opts.RootOut == "" {
		return st, err
	}
	if err := st.WriteRoots(f.opts.RootOut); err != nil {
		return nil, errors.Join(fmt.Errorf("ca: --root-out: %w", err), st.Close())
	}
	return st, nil
}

// save publishes the roots before anything is signed by a new one.
func (f folder) save(_ context.Context, st *store.Authority, parts store.Parts, use func(*store.Authority) error) error {
	next, err := st.Replace(parts)
	if err != nil {
		return err
	}
	if f.opts.RootOut != "" {
		if err := next.WriteRoots(f.opts.RootOut); err != nil {
			return fmt.Errorf("ca: --root-out: %w", err)
		}
	}
	return use(next)
}

func (folder) mayRotate() error { return nil }

func (folder) drives() bool { return true }

func (folder) follow(context.Context, func(*store.Authority) error) error { return nil }

// lists reads a file of the user's beside the key. One that is there and empty may be
// about to be written: that must not switch revocation off.
func (f folder) lists() ([]byte, error) {
	path := filepath.Join(f.opts.Store, store.CRLFile)
	text, err := enroll.ReadLists(path)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	if text != nil && len(bytes.TrimSpace(text)) == 0 {
		return nil, fmt.Errorf("ca: %s is empty: write a list of revoked certificates to it, or remove it", path)
	}
	return text, nil
}

func (folder) publish(context.Context) error { return nil }

// inKube is a backing of Secrets and ConfigMaps.
type inKube struct{ *cluster.Cluster }

// TakeLogs writes to log what the client of the API server says. It is for the
// whole process: call it once, before Run.
func TakeLogs(log *slog.Logger) { cluster.TakeLogs(log) }

func (a *authority) inCluster() error {
	opts, reg := a.opts, a.reg
	if opts.Store != "" || opts.LocalIdentityKey != "" || opts.RootOut != "" {
		return errors.New("ca: --store, --local-identity-key and --root-out cannot be used with --kube: the cluster keeps the key and proves the pods")
	}
	config, err := cluster.Config(opts.Kubeconfig)
	if err != nil {
		return fmt.Errorf("ca: --kube: %w", err)
	}
	var proof *identity.Kube
	if opts.OneNamespace {
		proof, err = identity.NewKubeNamespace(config, opts.TrustDomain, opts.Namespace, reg)
	} else {
		proof, err = identity.NewKube(config, opts.TrustDomain, reg)
	}
	if err != nil {
		return fmt.Errorf("ca: --kube: %w", err)
	}
	c, err := cluster.New(config, cluster.Options{
		Namespace: opts.Namespace, Only: opts.OneNamespace, TrustDomain: opts.TrustDomain, RootTTL: opts.RootTTL, Reread: opts.fence / 3, Replica: opts.Replica, Metrics: reg, Logger: opts.Logger,
	})
	if err != nil {
		return fmt.Errorf("ca: --kube: %w", err)
	}
	a.backing, a.proof = inKube{c}, proof
	a.peers = &peers{
		board: c, roster: a.roster, turn: &a.turn, pods: proof, use: a.takes, instance: instanceOf(time.Now()), fence: opts.fence, log: a.log, others: map[string]other{},
	}
	return nil
}

func (k inKube) open(ctx context.Context) (*store.Authority, error) { return k.Open(ctx) }

func (k inKube) follow(ctx context.Context, use func(*store.Authority) error) error {
	return k.Follow(ctx, use)
}

func (k inKube) save(ctx context.Context, st *store.Authority, parts store.Parts, use func(*store.Authority) error) error {
	return k.Save(ctx, st, parts, use)
}

func (k inKube) mayRotate() error { return k.MayRotate() }

func (k inKube) drives() bool { return k.Leads() }

func (k inKube) lists() ([]byte, error) { return k.Lists(), nil }

func (k inKube) publish(ctx context.Context) error {
	if err := k.Publish(ctx); ctx.Err() == nil {
		return err
	}
	return nil // told to stop: the CA serves on for a while
}
