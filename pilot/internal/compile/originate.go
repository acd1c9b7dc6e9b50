package compile

import (
	"slices"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// checkProtocol reports a destination whose port is said not to speak HTTP. One
// that speaks TLS may be sent requests within TLS that a DestinationRule has
// proxies open (Istio, "Egress TLS Origination").
func (c *routing) checkProtocol(svc *model.Service, to model.Destination, at diag.Path) {
	if to.Port == 0 && len(svc.Ports) == 1 {
		to.Port = svc.Ports[0].Number
	}
	p, ok := svc.Port(to.Port)
	if !ok || p.Protocol.IsHTTP() || p.Protocol == model.ProtocolAuto || p.Protocol == model.ProtocolTLS && c.in.originatesTLS(to) {
		return
	}
	without := ""
	if p.Protocol == model.ProtocolTLS {
		without = ", and no DestinationRule opens TLS to it"
	}
	c.d.Add(diag.WrongProtocol, at.Field("port"), "an HTTP route leads to port %d of %s, whose name or appProtocol says %s%s", to.Port, svc.Host, p.Protocol, without)
}

// originatesTLS reports whether some DestinationRule has proxies open TLS to a
// destination.
func (s scope) originatesTLS(to model.Destination) bool {
	for _, host := range hostname.Wider(to.Host) {
		rules, _ := memo.Get(s.r, &s.c.ruled.Cell, host)
		for _, p := range rules.All() {
			if p.Traffic.OpensTLS(to.Port) || slices.ContainsFunc(p.Subsets, func(sub model.Subset) bool {
				return sub.Name == to.Subset && sub.OpensTLS(to.Port)
			}) {
				return true
			}
		}
	}
	return false
}
