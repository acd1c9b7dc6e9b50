package compile

import (
	"slices"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// bytesGateways says from which Gateways a VirtualService takes bytes.
func bytesGateways(_ string, v *model.VirtualService) []string {
	if len(v.TLS)+len(v.TCP) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(v.Gateways), func(gw string) bool { return gw == meshGateway })
}

// checkServed reports servers for bytes that no route takes from: their
// connections are closed.
func checkServed(g *model.Gateway, in scope, d *diag.List) {
	routing, _ := memo.Get(in.r, &in.c.passing.Cell, g.Key())
	for i := range g.Servers {
		s := &g.Servers[i]
		passed := s.TLS != nil && s.TLS.Mode == model.ServerAutoPassthrough
		if s.RouteTable != "" || passed {
			continue
		}
		kind := "tcp"
		if s.Protocol == model.ProtocolTLS && (s.TLS == nil || s.TLS.Mode == model.ServerPassthrough) {
			kind = "tls"
		}
		served := false
		for _, v := range routing.All() {
			has := kind == "tls" && len(v.TLS) > 0 || kind == "tcp" && len(v.TCP) > 0
			served = served || has && slices.ContainsFunc(v.Hosts, func(h string) bool { return takes(&model.Gateway{Servers: g.Servers[i : i+1]}, v.Namespace, h) })
		}
		if !served {
			d.Add(diag.Unserved, diag.Path("spec.servers").Index(s.Index), "no VirtualService has %s routes for port %d and its hosts, so connections to it are closed", kind, s.Port)
		}
	}
}

// checkAliases reports hosts that are other names of services: those have no
// ports of their own that routes could hold for.
func checkAliases(v *model.VirtualService, in scope, d *diag.List) {
	if !slices.Contains(v.Gateways, meshGateway) {
		return
	}
	for _, host := range v.Hosts {
		if s, ok := memo.Get(in.r, &in.c.services.Cell, host); ok && s.AliasOf != "" {
			d.Add(diag.AliasRouted, "spec.hosts", "%s is an ExternalName for %s; in the mesh no route here holds for it", host, s.AliasOf)
		}
	}
}
