package agent

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/weftmesh/weft/internal/agent/bootstrap"
)

// statsdWait is how long the name of a statsd may take at the start of a pod.
const statsdWait = 5 * time.Second

// statsd is where Envoy's statistics go by UDP: it takes an address alone. As in
// Istio a name is looked up once, and a pod whose statsd nobody knows starts
// without it.
func (a *agent) statsd() netip.AddrPort {
	at := a.o.Envoy.Statsd
	if at == "" {
		return netip.AddrPort{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), statsdWait)
	defer cancel()
	out, err := a.net.lookup(ctx, at)
	if err != nil {
		a.o.Log.Warn("statistics go to no statsd: its name is not known", "address", at, "error", err)
	}
	return out
}

// readable is a service whose files are there. A proxy without it starts.
func (a *agent) readable(what string, r *bootstrap.Remote) *bootstrap.Remote {
	if r == nil || r.TLS == nil {
		return r
	}
	for _, file := range r.TLS.Files() {
		if f, err := os.Open(file); err != nil {
			a.o.Log.Warn(what+" go to no service: a file of its tlsSettings cannot be read; name one that the proxy has", "service", r.Host, "error", err)
			return nil
		} else if err = f.Close(); err != nil {
			return nil
		}
	}
	return r
}

// lookup resolves the host of HOST:PORT.
func (n network) lookup(ctx context.Context, hostPort string) (netip.AddrPort, error) {
	host, text, err := net.SplitHostPort(hostPort)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	found, err := n.resolver().LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(found[0].Unmap(), uint16(port)), nil
}

// metricsStream is how long Envoy may tell its statistics by one stream. It does not
// look whether they are taken: what a service that hangs holds is bounded so.
const metricsStream = time.Minute

func withinMinute(r *bootstrap.Remote) *bootstrap.Remote {
	if r == nil {
		return nil
	}
	out := *r
	out.MaxStream = metricsStream
	return &out
}
