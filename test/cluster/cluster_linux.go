package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/weftmesh/weft/test/cluster/binaries"
	"github.com/weftmesh/weft/test/cluster/machine"
	"github.com/weftmesh/weft/test/cluster/pki"
	"github.com/weftmesh/weft/test/repository"
)

// serial makes names of one process differ.
var serial atomic.Int64

// base is what a Cluster and an API have in common.
type base struct {
	plan   machine.Plan
	config *rest.Config
	// owner keeps the cluster alive while it is open; nil if it is detached.
	owner io.Closer
	// apiMachine is the socket that starts and stops the API server.
	apiMachine string

	once    sync.Once
	clients *clients
	failed  error
}

// Cluster is a running Kubernetes with nodes.
type Cluster struct {
	base
	nodes int
}

// Start brings up a cluster, and returns when its nodes are Ready and names
// resolve. Unless it is detached it ends with Down or with this process.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	o, err := o.fill()
	if err != nil {
		return nil, err
	}
	if err := Missing(); err != nil {
		return nil, err
	}
	l, err := prepare(ctx, o, slices.Concat(binaries.ControlPlane, binaries.Nodes))
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", o.Name, err)
	}
	c := &Cluster{base: base{plan: machine.Plan{Name: o.Name, Dir: l.dir, Owned: !o.Detached}}, nodes: o.Nodes}
	if err := c.raise(ctx, l, o); err != nil {
		err = fmt.Errorf("cluster %s: %w%s", o.Name, err, l.tails())
		return nil, errors.Join(err, Down(context.WithoutCancel(ctx), o.Name))
	}
	return c, nil
}

// prepare makes the cluster's folder and everything that programs of any kind
// need.
func prepare(ctx context.Context, o Options, programs []string) (layout, error) {
	dir, err := Dir(o.Name)
	if err != nil {
		return layout{}, err
	}
	root, err := repository.Root()
	if err != nil {
		return layout{}, err
	}
	paths, err := binaries.Ensure(ctx, root, o.Progress, programs...)
	if err != nil {
		return layout{}, err
	}
	if err := clear(dir); err != nil {
		return layout{}, err
	}
	l := layout{dir: dir, programs: paths}
	for _, sub := range []string{"log", "pki", "etc", "images", "machines"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return layout{}, err
		}
	}
	build := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", l.daemon(), "./test/cluster/clusterd")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		return layout{}, fmt.Errorf("build clusterd: %w\n%s", err, out)
	}
	return l, nil
}

// clear makes sure that no cluster has the folder; it removes what a dead one
// left.
func clear(dir string) error {
	plan, err := machine.Read(dir)
	if err != nil {
		return os.RemoveAll(dir) // never a cluster, or not whole
	}
	if _, err := machine.Ask(plan.Socket(), machine.Request{Operation: machine.Ping}); err == nil {
		return fmt.Errorf("it is up already: `make cluster-down NAME=%s` ends it", plan.Name)
	}
	return machine.Sweep(dir)
}

func (l layout) daemon() string { return filepath.Join(l.dir, "clusterd") }

// raise does the steps from an empty folder to a usable cluster.
func (c *Cluster) raise(ctx context.Context, l layout, o Options) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	relay := machine.Relay{Listen: "127.0.0.1:" + ports[0], To: net.JoinHostPort(control.String(), apiPort)}
	if err := c.describe(l, o, relay); err != nil {
		return err
	}
	o.Progress(fmt.Sprintf("starting %d machines", len(c.plan.Machines)))
	if err := c.launch(ctx, l); err != nil {
		return err
	}
	if err := c.connect("https://" + relay.Listen); err != nil {
		return err
	}
	images, err := l.writeImages()
	if err != nil {
		return err
	}
	loaded := make(chan error, 1)
	go func() { loaded <- c.LoadImages(ctx, append(images, o.Images...)...) }()
	if err := c.Ready(ctx); err != nil {
		return err
	}
	o.Progress("API server is ready")
	if err := <-loaded; err != nil {
		return err
	}
	o.Progress("images are loaded")
	return c.settle(ctx, o)
}

// describe writes certificates, configuration files and the plan.
func (c *Cluster) describe(l layout, o Options, relay machine.Relay) error {
	certs := pki.Options{
		Dir: l.pki(""), Server: "https://" + relay.To,
		Addresses: []netip.Addr{services.Addr().Next(), control, netip.MustParseAddr("127.0.0.1")},
		Names:     []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
	}
	lanMachine := machine.Machine{
		Name: "lan", Dir: l.machine("lan"), Switch: true, Address: netip.PrefixFrom(lanHost, lan.Bits()),
		Routes: l.podRoutes(o.Nodes, 0), Relay: &relay,
	}
	head := machine.Machine{
		Name: "control", Dir: l.machine("control"), Address: netip.PrefixFrom(control, lan.Bits()), Gateway: lanHost,
		Routes: l.podRoutes(o.Nodes, 0), Programs: l.controlPlane(o.LostAfter),
	}
	c.plan.Machines = []machine.Machine{lanMachine, head}
	for n := 1; n <= o.Nodes; n++ {
		certs.Nodes = append(certs.Nodes, pki.Machine{Name: nodeName(n), Address: nodeAddress(n)})
		if err := l.writeFiles(n, o.ProxyMode); err != nil {
			return err
		}
		c.plan.Machines = append(c.plan.Machines, machine.Machine{
			Name: nodeName(n), Dir: l.machine(nodeName(n)), Address: netip.PrefixFrom(nodeAddress(n), lan.Bits()), Gateway: lanHost,
			Routes: l.podRoutes(o.Nodes, n), Programs: l.node(n),
		})
	}
	c.plan.Machines = append(c.plan.Machines, machine.Machine{
		Name: "outside", Dir: l.machine("outside"), Address: netip.PrefixFrom(Outside, lan.Bits()), Gateway: lanHost, Routes: l.podRoutes(o.Nodes, 0),
	})
	c.apiMachine = head.Socket()
	return pki.Write(certs)
}

func (l layout) machine(name string) string { return filepath.Join(l.dir, "machines", name) }

// podRoutes lead to the pods of every node but one.
func (l layout) podRoutes(nodes, but int) (routes []machine.Route) {
	for n := 1; n <= nodes; n++ {
		if n != but {
			routes = append(routes, machine.Route{To: podRange(n), Via: nodeAddress(n)})
		}
	}
	return routes
}

// launch writes the plan, starts the keeper and returns when it answers.
func (b *base) launch(ctx context.Context, l layout) error {
	if err := b.plan.Write(); err != nil {
		return err
	}
	log, err := os.OpenFile(l.log("keeper"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(l.daemon(), "keep", l.dir) //nolint:noctx // it outlives this call
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if b.plan.Owned {
		if b.owner, err = cmd.StdinPipe(); err != nil {
			return err
		}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return poll(ctx, "keeper", func(context.Context) error {
		select {
		case err := <-ended:
			return permanent{fmt.Errorf("the keeper ended: %w", err)}
		default:
		}
		_, err := machine.Ask(b.plan.Socket(), machine.Request{Operation: machine.Ping})
		return err
	})
}

// connect makes the kubeconfig for callers on this machine.
func (b *base) connect(server string) error {
	content, err := pki.Kubeconfig(filepath.Join(b.plan.Dir, "pki"), "admin", server)
	if err != nil {
		return err
	}
	if err := os.WriteFile(b.Kubeconfig(), content, 0o600); err != nil {
		return err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(content)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = -1, -1 // tests shall wait for the cluster, not for their client
	b.config = config
	return nil
}

// Down ends the cluster of that name and removes all of it; one that is not
// there is no error.
func Down(ctx context.Context, name string) error {
	dir, err := Dir(name)
	if err != nil {
		return err
	}
	plan, err := machine.Read(dir)
	if err != nil {
		return os.RemoveAll(dir)
	}
	if _, err := machine.Ask(plan.Socket(), machine.Request{Operation: machine.Down}); err != nil {
		return machine.Sweep(dir) // the keeper is dead, and so is all it held
	}
	return poll(ctx, "end of cluster "+name, func(context.Context) error {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			return fmt.Errorf("%s is still there: keeper.log in its log folder says why", dir)
		}
		return nil
	})
}

// Find gives a running cluster of that name, for its kubeconfig, images and
// machines.
func Find(name string) (*Cluster, error) {
	dir, err := Dir(name)
	if err != nil {
		return nil, err
	}
	plan, err := machine.Read(dir)
	if err != nil {
		return nil, fmt.Errorf("no cluster %s: `make cluster-up NAME=%s` brings one up", name, name)
	}
	c := &Cluster{base: base{plan: plan, apiMachine: plan.Socket()}}
	for _, m := range plan.Machines {
		switch m.Name {
		case "lan":
		case "control":
			c.apiMachine = m.Socket()
		default:
			c.nodes++
		}
	}
	content, err := os.ReadFile(c.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("cluster %s is not up yet: %w", name, err)
	}
	c.config, err = clientcmd.RESTConfigFromKubeConfig(content)
	return c, err
}

// Names lists the clusters of this machine, running or not.
func Names() ([]string, error) {
	dir, err := Dir("")
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// Down ends the cluster and removes all of it.
func (b *base) Down(ctx context.Context) error {
	if b.owner != nil {
		defer func() { _ = b.owner.Close() }()
	}
	return Down(ctx, b.plan.Name)
}

// Name is the cluster's.
func (b *base) Name() string { return b.plan.Name }

// RESTConfig is that of an administrator; each call gives a copy.
func (b *base) RESTConfig() *rest.Config { return rest.CopyConfig(b.config) }

// Kubeconfig is the path of the administrator's file, for use on this machine.
func (b *base) Kubeconfig() string { return filepath.Join(b.plan.Dir, "kubeconfig") }

// KillAPIServer stops the API server at once; what it stored stays.
func (b *base) KillAPIServer() error { return b.stop("kube-apiserver") }

// KillAPIServer stops the API server, and the controllers with it, as they do
// elsewhere when they cannot renew their lease. New ones give nodes new time;
// the old would call every node lost for its silence while none could speak.
func (c *Cluster) KillAPIServer() error {
	return errors.Join(c.stop(controllers), c.base.KillAPIServer())
}

// StartAPIServer starts both again, and returns when the API server is ready.
func (c *Cluster) StartAPIServer(ctx context.Context) error {
	if err := c.base.StartAPIServer(ctx); err != nil {
		return err
	}
	return c.start(controllers)
}

func (b *base) stop(program string) error {
	_, err := machine.Ask(b.apiMachine, machine.Request{Operation: machine.Stop, Name: program})
	return err
}

func (b *base) start(program string) error {
	_, err := machine.Ask(b.apiMachine, machine.Request{Operation: machine.Start, Name: program})
	return err
}

// StartAPIServer starts it again, and returns when it is ready.
func (b *base) StartAPIServer(ctx context.Context) error {
	if err := b.start("kube-apiserver"); err != nil {
		return err
	}
	return b.Ready(ctx)
}

// permanent is an error that waiting does not cure.
type permanent struct{ error }

// pollTime bounds waiting where the caller's context does not.
const pollTime = 2 * time.Minute

// poll asks for a condition until it holds (nil), ctx ends, or two minutes have
// passed.
func poll(ctx context.Context, what string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, pollTime)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if p := (permanent{}); errors.As(err, &p) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; last: %w", what, ctx.Err(), err)
		case <-tick.C:
		}
	}
}
