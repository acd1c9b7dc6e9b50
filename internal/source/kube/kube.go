// Package kube is a source that follows a Kubernetes API server.
//
// In: Services, EndpointSlices, Pods, Namespaces, Nodes, Istio's kinds whose
// CRD is installed, the ConfigMap "istio" of the system namespace, and the
// Secrets that Gateways and DestinationRules name. Out: whole states; objects
// that did not change keep their pointers. Of each object only what the
// pipeline reads is kept. Imports: source, config, diag, memo, client-go and
// Kubernetes' types. It must not import a stage of the pilot.
//
// While the API server is away the last state stays in force. Bursts are not
// merged here: the receiver of the states does that.
package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/weftmesh/weft/internal/source"
)

// DefaultNamespace is the system namespace.
const DefaultNamespace = "weft-system"

// Options of New.
type Options struct {
	// Config of the client; nil: that of Kubeconfig.
	Config *rest.Config
	// Kubeconfig is a file; empty: the service account of this pod.
	Kubeconfig string
	// Namespace is the system namespace; default DefaultNamespace. The
	// ConfigMap MeshConfig in it holds MeshConfig; default "istio".
	Namespace, MeshConfig string
	// OneNamespace reads that namespace alone, by rights in it alone: no Nodes, and
	// so no locality, and no Namespaces.
	OneNamespace bool
	Log          *slog.Logger // default slog.Default()
}

// Source follows an API server.
type Source struct {
	namespace string
	only      string // the one namespace to read; "" for all
	settings  string // name of the ConfigMap with MeshConfig
	clients   *clients
	link      *link
	world     *world
	trim      *trimmer
	credits   *credentials
}

// Requests a second to the API server, for lists and the starts of watches.
const qps, burst = 50, 100

// New returns a source; it does not connect yet. A kubeconfig that cannot be
// read, and a pod without a service account's token, are errors.
func New(o Options) (*Source, error) {
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if o.MeshConfig == "" {
		o.MeshConfig = meshConfigMap
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	link := newLink(o.Log, config.Host)
	clients, err := newClients(config, link)
	if err != nil {
		return nil, fmt.Errorf("client of the API server %s: %w", config.Host, err)
	}
	s := &Source{namespace: o.Namespace, settings: o.MeshConfig, clients: clients, link: link, world: newWorld(), trim: newTrimmer()}
	if o.OneNamespace {
		s.only = s.namespace
	}
	s.credits = newCredentials(s.world, s.namespace)
	return s, nil
}

// ClientConfig is that of a kubeconfig file, or of this pod's service account
// where the name is empty.
func ClientConfig(kubeconfig string) (*rest.Config, error) {
	return Options{Kubeconfig: kubeconfig}.config()
}

func (o Options) config() (*rest.Config, error) {
	switch {
	case o.Config != nil:
		return rest.CopyConfig(o.Config), nil
	case o.Kubeconfig != "":
		config, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
		if err != nil {
			return nil, fmt.Errorf("kubeconfig %s: %w", o.Kubeconfig, err)
		}
		return config, nil
	}
	config, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) || errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("this is no pod of a cluster with a service account's token, give a kubeconfig: %w", err)
	}
	return config, err
}

// secretsPatience bounds how long the first state waits for named Secrets.
const secretsPatience = 5 * time.Second

// Run publishes states until ctx ends. The first comes when every kind was
// read, and the Secrets that are named; it waits for the API server without an
// end, and Waiting says for what.
func (s *Source) Run(ctx context.Context, publish func(source.State)) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := s.stores()
	for _, st := range all {
		s.world.expect(st.kind.name)
	}
	for _, st := range all {
		tasks.Go(func() { s.follow(ctx, st) })
	}
	s.credits.start = func(ref secretRef) context.CancelFunc {
		ctx, cancel := context.WithCancel(ctx)
		st := s.secretStore(ref)
		tasks.Go(func() { s.followSecret(ctx, st) })
		return func() {
			cancel()
			s.world.close(st)
			s.link.forget(st.kind.what())
		}
	}
	if !s.first(ctx) {
		return nil
	}
	last := s.world.state()
	publish(last)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.world.changed:
			s.credits.update()
		}
		// What changed may have been in the last state already.
		if next := s.world.state(); !next.Set.Equal(last.Set) || !slices.Equal(next.Findings, last.Findings) {
			publish(next)
			last = next
		}
	}
}

// first waits until the state is whole; false: ctx ended before.
func (s *Source) first(ctx context.Context) bool {
	for !s.world.whole() {
		select {
		case <-ctx.Done():
			return false
		case <-s.world.changed:
		}
	}
	late := time.NewTimer(secretsPatience)
	defer late.Stop()
	for s.credits.update(); !s.credits.settled(); s.credits.update() {
		select {
		case <-ctx.Done():
			return false
		case <-late.C:
			return true
		case <-s.world.changed:
		}
	}
	return true
}

// Waiting says for what the first state still waits; "" if for nothing.
func (s *Source) Waiting() string {
	missing := s.world.missing()
	if len(missing) == 0 {
		return ""
	}
	text := "the API server " + s.link.host + " has not given yet: " + strings.Join(missing, ", ")
	if why := s.link.trouble(); why != "" {
		text += " (" + why + ")"
	}
	return text
}
