package ca

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/ca/internal/cluster"
	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/ca/internal/store"
)

// backing keeps the signing key, and makes the trusted roots known.
type backing interface {
	// open returns the key, made where there is none.
	open(context.Context) (*store.Authority, error)
	// follow calls use with each key that takes the place of the last, until the
	// context is done.
	follow(context.Context, func(*store.Authority) error) error
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
	st, err := store.Open(f.opts.Store, f.opts.TrustDomain)
	if err != nil || f.opts.RootOut == "" {
		return st, err
	}
	if err := st.WriteRoots(f.opts.RootOut); err != nil {
		return nil, errors.Join(fmt.Errorf("ca: --root-out: %w", err), st.Close())
	}
	return st, nil
}

func (folder) follow(context.Context, func(*store.Authority) error) error { return nil }

func (folder) publish(context.Context) error { return nil }

// inKube is a backing of Secrets and ConfigMaps.
type inKube struct{ *cluster.Cluster }

// TakeLogs writes to log what the client of the API server says. It is for the
// whole process: call it once, before Run.
func TakeLogs(log *slog.Logger) { cluster.TakeLogs(log) }

func inCluster(opts Options, reg prometheus.Registerer) (backing, identity.Authenticator, error) {
	if opts.Store != "" || opts.LocalIdentityKey != "" || opts.RootOut != "" {
		return nil, nil, errors.New("ca: --store, --local-identity-key and --root-out cannot be used with --kube: the cluster keeps the key and proves the pods")
	}
	config, err := cluster.Config(opts.Kubeconfig)
	if err != nil {
		return nil, nil, fmt.Errorf("ca: --kube: %w", err)
	}
	var proof *identity.Kube
	if opts.OneNamespace {
		proof, err = identity.NewKubeNamespace(config, opts.TrustDomain, opts.Namespace, reg)
	} else {
		proof, err = identity.NewKube(config, opts.TrustDomain, reg)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("ca: --kube: %w", err)
	}
	c, err := cluster.New(config, cluster.Options{
		Namespace: opts.Namespace, Only: opts.OneNamespace, TrustDomain: opts.TrustDomain, Replica: opts.Replica, Metrics: reg, Logger: opts.Logger,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("ca: --kube: %w", err)
	}
	return inKube{c}, proof, nil
}

func (k inKube) open(ctx context.Context) (*store.Authority, error) { return k.Open(ctx) }

func (k inKube) follow(ctx context.Context, use func(*store.Authority) error) error {
	return k.Follow(ctx, use)
}

func (k inKube) publish(ctx context.Context) error {
	if err := k.Publish(ctx); ctx.Err() == nil {
		return err
	}
	return nil // told to stop: the CA serves on for a while
}
