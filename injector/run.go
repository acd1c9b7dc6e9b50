package injector

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/weftmesh/weft/internal/admission"
	"github.com/weftmesh/weft/internal/counted"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/fair"
)

// Default addresses, as Istio's.
const (
	DefaultWebhook    = ":15017"
	DefaultMonitoring = ":15014"
)

// Options of Run. Identity is required; other zero values mean what each
// comment says.
type Options struct {
	Kubeconfig string          // file of the cluster's; "": the pod's own cluster
	Identity   *enroll.Manager // keeps the webhook's certificate; Run runs it
	Namespace  string          // of the control plane, and of the ConfigMaps; "": weft-system
	Revision   string          // of the control plane; "": default
	Webhook    string          // HOST:PORT; "": DefaultWebhook
	Monitoring string          // HOST:PORT of /metrics and /ready; "": none
	// WebhookConfig is the MutatingWebhookConfiguration to keep; "": the chart's
	// name for that namespace and revision.
	WebhookConfig string
	Version       string
	// StopDelay is how long Run serves on after ctx has ended, not ready, while
	// the cluster withdraws the endpoint.
	StopDelay time.Duration
	Log       *slog.Logger                       // nil: slog.Default()
	Metrics   *prometheus.Registry               // nil: a new one
	Started   func(webhook, monitoring net.Addr) // told once the ports are open; may be nil
}

func (o Options) withDefaults() Options {
	o.Namespace = cmp.Or(o.Namespace, DefaultNamespace)
	o.Revision = cmp.Or(o.Revision, "default")
	o.Webhook = cmp.Or(o.Webhook, DefaultWebhook)
	if o.WebhookConfig == "" {
		o.WebhookConfig = "weft-sidecar-injector" + suffix(o.Revision)
		if o.Namespace != DefaultNamespace {
			o.WebhookConfig += "-" + o.Namespace
		}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
		o.Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	return o
}

// suffix is what names of a revision's objects end in.
func suffix(revision string) string {
	if revision == "default" {
		return ""
	}
	return "-" + revision
}

// Run serves the webhook until ctx ends (then it returns nil) or a part fails.
func Run(ctx context.Context, o Options) error {
	o = o.withDefaults()
	if o.Identity == nil {
		return errors.New("injector: an identity is needed, for the webhook's certificate")
	}
	client, objects, err := connect(o.Kubeconfig)
	if err != nil {
		return fmt.Errorf("injector: %w", err)
	}
	in := &injector{Options: o, client: client, objects: objects}
	reviewer := in.reviewer()
	webhook, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Webhook)
	if err != nil {
		return fmt.Errorf("injector: webhook port: %w", err)
	}
	var monitoring net.Listener
	if o.Monitoring != "" {
		if monitoring, err = (&net.ListenConfig{}).Listen(ctx, "tcp", o.Monitoring); err != nil {
			return errors.Join(fmt.Errorf("injector: monitoring port: %w", err), webhook.Close())
		}
	}
	if o.Started != nil {
		o.Started(address(webhook), address(monitoring))
	}
	if err := in.run(ctx, reviewer, webhook, monitoring); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func connect(kubeconfig string) (kubernetes.Interface, dynamic.Interface, error) {
	load := rest.InClusterConfig
	if kubeconfig != "" {
		load = func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", kubeconfig) }
	}
	config, err := load()
	if err != nil {
		return nil, nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, err
	}
	objects, err := dynamic.NewForConfig(config)
	return client, objects, err
}

func address(l net.Listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
}

// injector is a running webhook.
type injector struct {
	Options
	client   kubernetes.Interface
	objects  dynamic.Interface      // for ProxyConfigs; nil: there are none
	values   atomic.Pointer[Values] // the last good ones; nil before the first
	stopping atomic.Bool
}

// current are the values in force.
func (in *injector) current() (Values, error) {
	v := in.values.Load()
	if v == nil {
		return Values{}, errors.New("the injector has not read ConfigMap istio-sidecar-injector yet: try again")
	}
	return *v, nil
}

func (in *injector) run(ctx context.Context, reviewer http.Handler, webhook, monitoring net.Listener) error {
	ctx, late := in.outlive(ctx)
	defer late()
	group, ctx := errgroup.WithContext(ctx)
	in.Identity.KnownTo(enroll.NotYet) // until watch knows the API server's
	group.Go(func() error { return in.Identity.Run(ctx) })
	group.Go(func() error { return in.watch(ctx) })
	pages := http.NewServeMux()
	pages.Handle("/inject", reviewer)
	pages.Handle("/inject/", reviewer) // Istio's clients may add variables to the path
	group.Go(func() error {
		return admission.Serve(ctx, tls.NewListener(fair.Listener(webhook, admission.MaxConnections), admission.TLS(in.Identity.Certificate)), pages)
	})
	if monitoring != nil {
		group.Go(func() error {
			return admission.Serve(ctx, fair.Listener(monitoring, admission.MaxConnections), in.monitoring())
		})
	}
	return group.Wait()
}

// outlive returns a context that ends StopDelay after ctx, and marks the end's
// beginning.
func (in *injector) outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		in.stopping.Store(true)
		time.AfterFunc(in.StopDelay, cancel)
	})
	return longer, func() { stop(); cancel() }
}

// reviewer registers all that the injector counts.
func (in *injector) reviewer() *Reviewer {
	in.Metrics.MustRegister(counted.Build("injector", in.Version))
	return NewReviewer(in.current, in.Metrics, in.Log)
}

// monitoring is the port for Prometheus and the kubelet.
func (in *injector) monitoring() http.Handler {
	pages := http.NewServeMux()
	pages.Handle("GET /metrics", promhttp.HandlerFor(in.Metrics, promhttp.HandlerOpts{}))
	pages.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if err := in.ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	pages.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, in.Version) })
	return pages
}

// ready reports why pods cannot be injected yet; nil if they can.
func (in *injector) ready() error {
	if in.stopping.Load() {
		return errors.New("stopping")
	}
	if _, err := in.current(); err != nil {
		return err
	}
	if in.Identity.Current() == nil {
		return errors.New("there is no certificate yet")
	}
	return nil
}
