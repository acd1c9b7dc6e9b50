// Package agent is what lives beside Envoy in every pod: it gets the workload
// its certificate, starts and supervises Envoy, relays its configuration from
// the pilot, answers the pod's DNS, tells whether the pod is ready and merges
// its metrics.
//
// Inputs: Options, from flags and the pod's environment. Outputs: a running
// Envoy, sockets in the run directory, DNS and HTTP ports. It lives in every
// pod, so it is small: it may import neither client-go, nor smallstep, nor any
// component of the control plane. Each subpackage does one of these things and
// knows nothing of the others; this package puts them together.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/weftmesh/weft/internal/agent/bootstrap"
	"github.com/weftmesh/weft/internal/agent/node"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/spiffe"
)

// Options are all that an agent depends on. Zero values mean what each comment
// says; fields without one are required.
type Options struct {
	Node   node.Node
	Ports  bootstrap.Ports // zero: Istio's
	RunDir string          // for sockets, lock and bootstrap; made if absent, private to this agent
	// Proxyless runs no Envoy: the run directory is for processes of the same
	// user, whose gRPC library speaks xDS. Envoy and DNS are not used, of Drain
	// Min alone.
	Proxyless bool
	// GroupAccess opens the run directory of a Proxyless agent to its group too.
	GroupAccess bool

	Envoy EnvoyOptions
	Pilot PilotOptions
	CA    CAOptions
	DNS   DNSOptions
	Drain DrainOptions

	// WorkloadSDS is the socket of another SDS server, SPIRE's for one: where its
	// folder is there, Envoy gets the workload's certificate and roots from it, and
	// never the CA's. "": there is none.
	WorkloadSDS string

	SocketMark     uint32 // SO_MARK that excludes from capture; 0: none
	AppAnnotations string // ISTIO_PROMETHEUS_ANNOTATIONS; "": the app has no metrics
	MeshSamples    int    // of the mesh's metrics that a scrape shows by themselves; 0: scrape.DefaultSamples
	AppSamples     int    // of the app's that it shows at all; 0: the same
	AppProbes      string // ISTIO_KUBE_APP_PROBERS; "": the kubelet asks the app itself
	HealthProbe    string // WEFT_HEALTH_PROBE, that of a machine's WorkloadGroup; "": the pilot is told nothing
	Log            *slog.Logger
}

// EnvoyOptions say which Envoy to run, and how.
type EnvoyOptions struct {
	Path           string // the binary
	Concurrency    int    // worker threads; 0: 2
	LogLevel       string // "": warning
	ComponentLevel string // COMPONENT:LEVEL,...; "": LogLevel for all
	MaxConnections int64  // downstream connections; 0: 50,000
	Stats          bootstrap.Stats
	Runtime        map[string]string // values of Envoy's runtime; empty ones take a value of ours away
	AccessLogs     *bootstrap.Remote // a service of logs; nil: none
	Metrics        *bootstrap.Remote // a service that statistics go to; nil: none
	Statsd         string            // HOST:PORT that statistics go to by UDP; "": none
	InboundLimit   int64             // connections to a sidecar's app, or to each listener of a gateway; 0: no bound but MaxConnections
	FlushInterval  time.Duration     // of files of logs; 0: 1 s
	FlushKB        uint32            // bytes of a log that are flushed at once, in KiB; 0: Envoy's own
	Output         *os.File          // nil: os.Stdout
}

// PilotOptions say where the pilot is.
type PilotOptions struct {
	Addresses []string  // HOST:PORT, tried in turn
	ID        spiffe.ID // that it must prove
	Insecure  bool      // plaintext, loopback only
}

// CAOptions say where certificates come from.
type CAOptions struct {
	Address   string        // HOST:PORT; "": no certificates, which only Insecure allows
	ID        spiffe.ID     // that it must prove
	RootsFile string        // PEM, read again when it changes
	TokenFile string        // proof of who the pod is
	TTL       time.Duration // asked for; 0: the CA's own
	Issuer    enroll.Issuer // instead of a CA at Address; nil: none
}

// DNSOptions say which questions to answer.
type DNSOptions struct {
	Listen   []string // ADDR:PORT, UDP and TCP; none: no DNS
	Sockets  int      // that this process was started with, UDP and TCP in turns from descriptor 3 on, in place of Listen; 0: none
	Upstream []string // HOST[:PORT], or one path of a resolv.conf; none: nothing lies outside of the mesh
	Search   []string // suffixes for short names; none: those of the pod's namespace
}

// DrainOptions bound how long a stop may take.
type DrainOptions struct {
	Max time.Duration // connections still open after it are cut; 0: 20 s
	Min time.Duration // drain at least so long, for clients to learn of it; 0: 2 s
	// Idle is how long connections without a request are waited for, as HTTP
	// clients cannot be told before they ask again; 0: 5 s, Istio's drain.
	Idle time.Duration
}

const (
	defaultConcurrency = 2
	defaultDrainMax    = 20 * time.Second
	defaultDrainMin    = 2 * time.Second
	defaultDrainIdle   = 5 * time.Second
)

// withDefaults returns o with every zero field that has a meaning set to it.
func (o Options) withDefaults() Options {
	o.Node, o.Ports = o.Node.WithDefaults(), o.Ports.WithDefaults()
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Envoy.Concurrency == 0 {
		o.Envoy.Concurrency = defaultConcurrency
	}
	if o.Envoy.LogLevel == "" {
		o.Envoy.LogLevel = "warning"
	}
	if o.Envoy.Output == nil {
		o.Envoy.Output = os.Stdout
	}
	if o.Drain.Max == 0 {
		o.Drain.Max = defaultDrainMax
	}
	if o.Drain.Min == 0 {
		o.Drain.Min = defaultDrainMin
	}
	if o.Drain.Idle == 0 {
		o.Drain.Idle = defaultDrainIdle
	}
	o.Drain.Min = min(o.Drain.Min, o.Drain.Max)
	return o
}

func (o Options) validate() error {
	if err := o.Node.Validate(); err != nil {
		return err
	}
	switch {
	case o.RunDir == "":
		return errors.New("agent: no run directory: set --run-dir")
	case o.Envoy.Path == "" && !o.Proxyless:
		return errors.New("agent: no Envoy: set --envoy")
	case len(o.Pilot.Addresses) == 0:
		return errors.New("agent: no pilot: set --pilot HOST:PORT")
	case !o.certified() && !o.Pilot.Insecure:
		return errors.New("agent: no CA: set --ca HOST:PORT (only --insecure-pilot goes without)")
	}
	return o.checkSocketPath()
}

// certified reports whether this agent gets a certificate at all.
func (o Options) certified() bool { return o.CA.Address != "" || o.CA.Issuer != nil }

func (o Options) socket(name string) string { return filepath.Join(o.RunDir, name) }

// countsFile is where what the agent counted outlives it.
func (o Options) countsFile() string { return filepath.Join(o.RunDir, "counts.json") }

// namesFile is where the mesh's names outlive the agent.
func (o Options) namesFile() string { return filepath.Join(o.RunDir, "names.json") }

// checkSocketPath exists because the kernel's own error does not say what is
// too long. Source: unix(7), sun_path.
func (o Options) checkSocketPath() error {
	const limit = 107
	if path := o.socket("xds.sock"); len(path) > limit {
		return fmt.Errorf("agent: the socket %s has %d bytes, the kernel takes %d: choose a shorter --run-dir", path, len(path), limit)
	}
	return nil
}

// Orders are how an agent is told to end. Each is given when its context ends;
// none may be nil.
type Orders struct {
	Drain context.Context // stop taking traffic, but stay: the app is about to end
	Quit  context.Context // drain, then end
	Hurry context.Context // cut the drain short
}
