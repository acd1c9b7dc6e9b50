package controller

import (
	"cmp"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/local/network"
)

// clusterServices is kube-proxy's part: which endpoints a virtual address has,
// for pods without a proxy.
func clusterServices(svcs []*corev1.Service, pods []podFacts) (out []network.Service) {
	for _, svc := range svcs {
		ips := parse(append([]string{svc.Spec.ClusterIP}, svc.Spec.ClusterIPs...))
		if len(ips) == 0 {
			continue // headless or external
		}
		members := selected(svc, pods)
		for _, port := range svc.Spec.Ports {
			s := network.Service{IPs: ips, Port: uint16(port.Port), UDP: port.Protocol == corev1.ProtocolUDP}
			for _, p := range members {
				s.Endpoints = append(s.Endpoints, readyAt(svc, port, p)...)
			}
			out = append(out, s)
		}
	}
	return out
}

// readyAt are the addresses of a ready pod that serve a port of a Service.
func readyAt(svc *corev1.Service, port corev1.ServicePort, p podFacts) (out []netip.AddrPort) {
	if p.terminating || !p.ready && !svc.Spec.PublishNotReadyAddresses {
		return nil
	}
	for _, resolved := range resolvePorts(svc, p.pod) {
		if *resolved.Name != port.Name || *resolved.Protocol != cmp.Or(port.Protocol, corev1.ProtocolTCP) {
			continue
		}
		for _, ip := range p.pod.Status.PodIPs {
			if a, err := netip.ParseAddr(ip.IP); err == nil && serves(svc, a) {
				out = append(out, netip.AddrPortFrom(a, uint16(*resolved.Port)))
			}
		}
	}
	return out
}
