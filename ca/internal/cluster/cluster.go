// Package cluster keeps what the CA has in Kubernetes: its signing key in a
// Secret, and the trusted roots in a ConfigMap of every namespace.
//
// Inputs: an API server, and Secrets that a user or another replica may write.
// Outputs: a store.Authority, again whenever it changes; the ConfigMaps, by the
// one replica that leads. Beside ca/internal/identity it is the only package of
// the CA that may talk to Kubernetes; it must not import issue or identity.
//
// The least rights that its calls need; identity adds two of its own:
//
//	in the system namespace
//	  secrets     get, list, watch  named cacerts, istio-ca-secret
//	  secrets     update            named istio-ca-secret
//	  secrets     create
//	  configmaps  get, patch        named weft-ca-rotation
//	  leases      get, update       coordination.k8s.io, named weft-ca-leader
//	  leases      create
//	in the cluster
//	  namespaces  list, watch
//	  configmaps  list, watch, patch, delete  named istio-ca-root-cert
//	  configmaps  create
//	  tokenreviews create           authentication.k8s.io; identity
//	  pods        get               identity
package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/weftmesh/weft/ca/internal/store"
)

const (
	// qps and burst bound the writing of ConfigMaps: 2,000 namespaces take 20 s
	// after the roots changed, and the API server has room for others.
	qps, burst = 100, 200
	// callTimeout bounds one call that is not a watch.
	callTimeout = 5 * time.Second
)

// Options say which CA it is.
type Options struct {
	Namespace   string        // system namespace
	Only        bool          // publish the roots in that namespace alone, with rights there alone
	TrustDomain string        // named in a self-made root
	Replica     string        // name of this replica; "" is the host's name
	RootTTL     time.Duration // lifetime of a self-made root; 0 is store.RootLife
	// Reread is how often the Secrets are read beside their watch: a replica that
	// could not read them lately must not sign. 0 is 5 seconds.
	Reread  time.Duration
	Metrics prometheus.Registerer
	Logger  *slog.Logger // nil is slog.Default()
}

// Cluster is the CA's state in Kubernetes.
type Cluster struct {
	opts    Options
	api     kubernetes.Interface // for all but watches and leases: each call takes a context
	leases  kubernetes.Interface // each call ends within callTimeout
	metrics *metrics
	log     *slog.Logger
	leads   atomic.Bool

	turn sync.Mutex // one change of what is in force at a time

	mu      sync.RWMutex
	inForce held
	read    time.Time     // when the last look at the Secrets that was answered began
	changed chan struct{} // the roots changed; read by the replica that leads
}

// held is an authority and where it came from. The zero value is none.
type held struct {
	secret    string // name of the Secret
	version   string // of the Secret
	parts     store.Parts
	authority *store.Authority
	lists     []byte // of revoked certificates, those that may be published; PEM
}

// Lists is what Secret cacerts says of revoked certificates, as it stands there;
// empty: nothing.
func (c *Cluster) Lists() []byte { return c.current().parts[store.CRLFile] }

// Config is how to reach the API server: by kubeconfig file, or as a pod does
// where that is "". Errors name the file or say that this is no pod.
func Config(kubeconfig string) (*rest.Config, error) {
	config, err := rest.InClusterConfig()
	if kubeconfig != "" {
		config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errors.New("not in a pod: name a cluster with --kubeconfig")
	}
	if err != nil {
		return nil, err
	}
	config.UserAgent = "weft-ca"
	return config, nil
}

// TakeLogs writes what client-go says to log. client-go has one log for the
// process, so that a program calls this once, before anything else.
func TakeLogs(log *slog.Logger) { klog.SetSlogLogger(log) }

// New makes a Cluster that asks the API server of config; it makes no call. The
// messages of client-go, which are global, go to the logger.
func New(config *rest.Config, opts Options) (*Cluster, error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Replica == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("cluster: %w", err)
		}
		opts.Replica = fmt.Sprintf("%s-%d", cmp.Or(name, "ca"), os.Getpid())
	}
	c := &Cluster{opts: opts, log: opts.Logger, changed: make(chan struct{}, 1)}
	shared, short := rest.CopyConfig(config), rest.CopyConfig(config)
	shared.QPS, shared.Burst = qps, burst
	short.Timeout = callTimeout
	var err error
	if c.api, err = kubernetes.NewForConfig(shared); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if c.leases, err = kubernetes.NewForConfig(short); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	c.metrics = newMetrics(opts.Metrics)
	return c, nil
}

func (c *Cluster) current() held {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.inForce
}

// Leads reports whether this replica publishes the roots, and so drives their
// rotation.
func (c *Cluster) Leads() bool { return c.leads.Load() }

// Current is the authority in force, and the version of its Secret.
func (c *Cluster) Current() (*store.Authority, string) {
	h := c.current()
	return h.authority, h.version
}

// Read is when the last look at the Secrets that was answered began.
func (c *Cluster) Read() time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.read
}

func (c *Cluster) wasRead(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read = at
}

func (c *Cluster) set(h held) {
	c.mu.Lock()
	c.inForce = h
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default: // announced already
	}
}
