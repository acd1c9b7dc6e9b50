package controller

import (
	"context"
	"fmt"
	"net/netip"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/local"
)

// publisher opens on the host, on loopback unless told otherwise, what
// Gateways serve.
type publisher struct {
	mesh    *local.Mesh
	options Options
	open    map[uint32]*local.Publication
}

// gatewayPorts are the ports that Gateways for the local gateway serve.
func gatewayPorts(set config.Set) map[uint32]bool {
	out := map[uint32]bool{}
	for _, o := range set.Of(config.Gateway).All() {
		gw, ok := o.Spec.(*networking.Gateway)
		if !ok || !matches(gw.GetSelector(), gatewayWorkload().template.Labels) {
			continue
		}
		for _, s := range gw.GetServers() {
			if n := s.GetPort().GetNumber(); n > 0 && n < 1<<16 {
				out[n] = true
			}
		}
	}
	return out
}

// sync opens and closes ports as the Gateways say, and sends what they take to
// the gateway's address; the zero address makes connections wait for none. It returns
// why ports are not open.
func (p *publisher) sync(ctx context.Context, set config.Set, gateway netip.Addr) map[uint32]error {
	wanted := gatewayPorts(set)
	failed := map[uint32]error{}
	for port := range wanted {
		if p.open[port] != nil {
			continue
		}
		if err := p.start(ctx, port); err != nil {
			failed[port] = err
		}
	}
	for port, pub := range p.open {
		if !wanted[port] {
			_ = pub.Close()
			delete(p.open, port)
			continue
		}
		pub.SetTarget(netip.AddrPortFrom(gateway, uint16(port)))
	}
	return failed
}

func texts(failed map[uint32]error) map[uint32]string {
	out := map[uint32]string{}
	for port, err := range failed {
		out[port] = err.Error()
	}
	return out
}

func (p *publisher) start(ctx context.Context, port uint32) error {
	host := HostAddress(port, p.options.Publish)
	pub, err := p.mesh.Publish(ctx, host, netip.AddrPort{})
	if err != nil {
		return fmt.Errorf("gateway port %d: %w, with --publish %d=HOST:PORT", port, err, port)
	}
	p.open[port] = pub
	return nil
}

// hosts are the published ports with their addresses on the host.
func (p *publisher) hosts() map[uint32]string {
	out := map[uint32]string{}
	for port, pub := range p.open {
		out[port] = pub.Addr().String()
	}
	return out
}
