package pilot

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/internal/admission"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/fair"
	"github.com/weftmesh/weft/internal/source/kube"
	"github.com/weftmesh/weft/pilot/internal/status"
	"github.com/weftmesh/weft/pilot/internal/webhook"
)

// DefaultWebhook is the validating webhook's address, as Istio's.
const DefaultWebhook = ":15017"

// Cluster is what the pilot does in a cluster beside serving proxies: it
// validates objects before they are stored, and writes their status.
type Cluster struct {
	// Kubeconfig is a file; empty: the service account of this pod.
	Kubeconfig string
	// Namespace of the control plane; default "weft-system". Revision of it;
	// default "default".
	Namespace, Revision string
	// Default says that it is the revision that writes the status of objects
	// without the label istio.io/rev.
	Default bool
	// Replica names this pilot among others; default the host's name.
	Replica string
	// Webhook is the address of the validating webhook; it needs Identity.
	// Empty: none.
	Webhook string
	// WebhookConfig is the ValidatingWebhookConfiguration to keep; empty: none.
	WebhookConfig string
	// NoStatus leaves the status of objects alone.
	NoStatus bool
}

func (c Cluster) withDefaults() Cluster {
	c.Namespace = cmp.Or(c.Namespace, kube.DefaultNamespace)
	c.Revision = cmp.Or(c.Revision, "default")
	if c.Replica == "" {
		c.Replica, _ = os.Hostname()
	}
	return c
}

// suffix is what names of the revision's objects end in.
func (c Cluster) suffix() string {
	if c.Revision == "default" {
		return ""
	}
	return "-" + c.Revision
}

// lease is what the replica holds that writes. A revision that becomes the
// default waits until the one that was lets go: two would write over each other.
func (c Cluster) lease() string {
	if c.Default {
		return "weft-pilot-leader"
	}
	return "weft-pilot-leader-" + c.Revision
}

// runCluster does what the pilot does for the API server. lis is the webhook's;
// nil: none.
func (p *pilot) runCluster(ctx context.Context, lis net.Listener) error {
	c := p.Cluster.withDefaults()
	client, err := kube.ClientConfig(c.Kubeconfig)
	if err != nil {
		return err
	}
	client.UserAgent = "weft-pilot"
	group, ctx := errgroup.WithContext(ctx)
	if !c.NoStatus {
		moved := make(chan struct{}, 1) // something about other replicas' proxies
		group.Go(func() error {
			return status.Run(ctx, status.Options{
				Config: client, Namespace: c.Namespace, Lease: c.lease(), Replica: c.Replica, Revision: c.Revision, Default: c.Default,
				State: p.engine.standing.state, Changed: p.changed(ctx, moved), Log: p.Log, Metrics: p.Metrics,
				Tally: func(ctx context.Context) status.Tally { return p.tally(ctx, moved) },
			})
		})
	}
	if !c.NoStatus {
		group.Go(func() error { return p.health.Run(ctx, client, p.Log) })
		group.Go(func() error { return p.ejections.Run(ctx, client, p.Log) })
	}
	if lis != nil {
		group.Go(func() error { return p.serveWebhook(ctx, lis) })
	}
	if c.WebhookConfig != "" {
		keeper := webhook.Keeper{Config: client, Namespace: c.Namespace, Name: c.WebhookConfig, Log: p.Log, Identity: p.Identity}
		group.Go(func() error { return keeper.Run(ctx) })
	}
	return group.Wait()
}

// serveWebhook answers the API server. What it asks is on its way to be stored,
// and what is answered is not secret, so no certificate is asked of it.
func (p *pilot) serveWebhook(ctx context.Context, lis net.Listener) error {
	r := &reviewer{current: func() (config.Set, bool) {
		out := p.engine.outcome.Load()
		if out == nil {
			return config.Set{}, false
		}
		return out.state.Set, true
	}}
	pages := http.NewServeMux()
	pages.Handle("/validate", webhook.NewHandler(r.check, p.Metrics, p.Log))
	secure := tls.NewListener(fair.Listener(lis, admission.MaxConnections), admission.TLS(p.Identity.Certificate))
	if err := admission.Serve(ctx, secure, pages); err != nil && ctx.Err() == nil {
		return fmt.Errorf("pilot: webhook: %w", err)
	}
	return nil
}

// changed joins the signals that something about statuses may differ.
func (p *pilot) changed(ctx context.Context, others <-chan struct{}) <-chan struct{} {
	out := make(chan struct{}, 1)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-p.xds.Moved():
			case <-p.engine.standing.changed:
			case <-others:
			}
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out
}

// ofIstio reports whether an object, "Kind/namespace/name", has a status that
// the pilot writes.
func ofIstio(object string) bool {
	kind, _, _ := strings.Cut(object, "/")
	return strings.HasSuffix(config.Kind(kind).Group(), ".istio.io")
}
