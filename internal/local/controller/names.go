package controller

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/agent/nameserver"
	"github.com/weftmesh/weft/internal/local"
)

// names is the DNS server for pods without a proxy, at the mesh's own address:
// what CoreDNS is in a cluster. It is reached from within the mesh only.
type names struct {
	table *nameserver.Table
	known map[string][]netip.Addr
}

func startNames(ctx context.Context, m *local.Mesh) (*names, error) {
	n := &names{table: nameserver.NewTable(nil), known: map[string][]netip.Addr{}}
	var listen []string
	for _, a := range m.GatewayAddresses() {
		listen = append(listen, netip.AddrPortFrom(a, 53).String())
	}
	bound, err := nameserver.Listen(ctx, listen)
	if err != nil {
		return nil, err
	}
	server := nameserver.NewServer(n.table, nil, prometheus.NewRegistry(), slog.Default())
	go func() {
		if err := server.Serve(context.WithoutCancel(ctx), bound); err != nil {
			slog.Error("names for pods without a proxy", "error", err)
		}
	}()
	return n, nil
}

// sync makes the server answer for just these Services and their pods.
func (n *names) sync(svcs []*corev1.Service, pods []podFacts) {
	wanted := map[string][]netip.Addr{}
	for _, svc := range svcs {
		host := svc.Name + "." + svc.Namespace + ".svc.cluster.local"
		if svc.Spec.ClusterIP != corev1.ClusterIPNone {
			wanted[host] = parse(append([]string{svc.Spec.ClusterIP}, svc.Spec.ClusterIPs...))
			continue
		}
		wanted[host] = nil
		for _, p := range selected(svc, pods) {
			if !p.ready && !svc.Spec.PublishNotReadyAddresses || p.terminating {
				continue
			}
			for _, ip := range p.pod.Status.PodIPs {
				for _, a := range parse([]string{ip.IP}) {
					if serves(svc, a) {
						wanted[host] = append(wanted[host], a)
					}
				}
			}
		}
	}
	for host, addrs := range wanted {
		if was, ok := n.known[host]; !ok || !slices.Equal(was, addrs) {
			n.table.Put(host, addrs)
		}
	}
	for host := range n.known {
		if _, ok := wanted[host]; !ok {
			n.table.Remove(host)
		}
	}
	n.known = wanted
}

// parse reads addresses, each once.
func parse(texts []string) (out []netip.Addr) {
	for _, t := range texts {
		if a, err := netip.ParseAddr(t); err == nil && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}
