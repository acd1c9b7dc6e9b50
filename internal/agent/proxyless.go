package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/internal/agent/grpcbootstrap"
	"github.com/weftmesh/weft/internal/agent/scrape"
	"github.com/weftmesh/weft/internal/counted"
	"github.com/weftmesh/weft/internal/enroll"
)

// proxyless is an agent without Envoy, for processes whose gRPC library speaks
// xDS: it keeps their bootstrap and certificates in the run directory, and
// relays their streams.
type proxyless struct {
	*agent
	written atomic.Bool // the files are there
	read    lagging     // what the libraries have read of them
}

// bootstrapFile is where a process finds its way, in the run directory.
const bootstrapFile = "grpc-bootstrap.json"

// runProxyless runs until it is told to quit. It drains nothing itself, for the
// processes hold their own connections, but says when they may end.
func runProxyless(orders Orders, o Options) error {
	p := &proxyless{agent: &agent{o: o, began: time.Now(), net: network{mark: o.SocketMark}, registry: prometheus.NewRegistry()}}
	if err := p.assemble(orders.Quit); err != nil {
		return err
	}
	defer p.pilot.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range p.loops() {
		group.Go(func() error { return part(ctx) })
	}
	group.Go(func() error { return p.leave(ctx, orders.Drain) })
	group.Go(func() error {
		defer cancel()
		select {
		case <-orders.Quit.Done():
		case <-p.status.quit:
		case <-ctx.Done():
		}
		return nil
	})
	if err := group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// assemble makes every part, and opens every socket.
func (p *proxyless) assemble(ctx context.Context) error {
	istio := prometheus.WrapRegistererWithPrefix("istio_agent_", p.registry)
	own := prometheus.WrapRegistererWithPrefix("weft_agent_", p.registry)
	p.registry.MustRegister(counted.Build("agent", p.o.Node.Version))
	istio.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if p.o.certified() {
		_, err := os.Stat(p.o.socket(bootstrapFile))
		p.read.inherited = err == nil
		if p.certificates, err = newCertificates(p.o, p.net, enroll.NewMetrics(p.registry), p.read.held); err != nil {
			return err
		}
	}
	if err := p.makePilot(istio, own); err != nil {
		return err
	}
	app, err := scrape.AppURL(p.o.AppAnnotations, p.o.Ports.Status)
	if err != nil {
		return err
	}
	page := scrape.New(scrape.Options{Own: p.registry, Metrics: istio, Ours: own, App: app, AppSamples: p.o.AppSamples, Log: p.o.Log.With("part", "metrics")})
	p.status = newStatus(p.o.Log.With("part", "status"), page, p.whole, istio, nil)
	p.status.HandleFunc("GET /drained", p.serveDrained)
	mode := os.FileMode(0o600)
	if p.o.GroupAccess {
		mode = 0o660
	}
	relay, err := listenUnix(ctx, p.o.socket("xds.sock"), mode)
	if err != nil {
		return err
	}
	p.bound.xds = append(p.bound.xds, relay)
	p.bound.status, err = listenStatus(ctx, p.o)
	return err
}

// leave takes the pod out of service when it is told to, by a pre-stop hook or
// a supervisor.
func (p *proxyless) leave(ctx, ordered context.Context) error {
	select {
	case <-p.status.drain:
		p.status.startDrain()
	case <-ordered.Done():
		p.status.startDrain()
	case <-ctx.Done():
	}
	<-ctx.Done()
	return ctx.Err()
}

// serveDrained answers when the app may end: clients have had the time to learn
// that the pod ends, while it took their calls.
func (p *proxyless) serveDrained(w http.ResponseWriter, r *http.Request) {
	select {
	case <-p.status.leaving:
	case <-time.After(drainOrder):
		http.Error(w, "the pod is not being drained", http.StatusServiceUnavailable)
		return
	case <-r.Context().Done():
		return
	}
	select {
	case <-time.After(time.Until(p.status.drainBegan().Add(p.o.Drain.Min))):
		fmt.Fprintln(w, "drained")
	case <-r.Context().Done():
	}
}

// readers are who may read the files, beside this user.
func (p *proxyless) readers() grpcbootstrap.Readers {
	if p.o.GroupAccess {
		return grpcbootstrap.Group
	}
	return grpcbootstrap.Nobody
}

// whole reports why processes cannot start yet; nil if they can.
func (p *proxyless) whole(context.Context) error {
	if !p.written.Load() {
		return errors.New("there is no certificate yet")
	}
	return nil
}

func (p *proxyless) loops() []func(context.Context) error {
	server := &http.Server{Handler: p.status, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	out := []func(context.Context) error{serving(p.relay, p.bound.xds), servingHTTP(server, p.bound.status), p.writeFiles}
	if p.certificates != nil {
		out = append(out, p.certificates.Run)
	}
	return out
}

// writeFiles writes the bootstrap, and each new certificate and set of roots.
func (p *proxyless) writeFiles(ctx context.Context) error {
	c := grpcbootstrap.Config{Node: p.o.Node, Server: "unix://" + p.o.socket("xds.sock")}
	if p.certificates == nil {
		if err := p.writeBootstrap(c); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	changes, cancel := p.certificates.Subscribe()
	defer cancel()
	if _, err := p.certificates.Wait(ctx); err != nil {
		return ctx.Err()
	}
	c.Certificates = p.o.RunDir
	for {
		if err := p.writeIdentity(); err != nil {
			return err
		}
		if err := p.writeBootstrap(c); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changes:
		}
	}
}

func (p *proxyless) writeIdentity() error {
	held := p.certificates.Current()
	err := grpcbootstrap.WriteIdentity(p.o.RunDir, grpcbootstrap.Identity{Chain: held.ChainPEM, Key: held.KeyPEM, Roots: p.certificates.Roots().PEM()}, p.readers())
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	p.read.wrote(enroll.Held{Chain: held.ChainPEM, Roots: p.certificates.Roots().PEM()}, time.Now())
	return nil
}

// writeBootstrap writes it last: who waits for the file finds all it refers to.
func (p *proxyless) writeBootstrap(c grpcbootstrap.Config) error {
	text, err := grpcbootstrap.JSON(c)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	if err := grpcbootstrap.WriteFile(p.o.socket(bootstrapFile), text, p.readers()); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	p.written.Store(true)
	return nil
}
