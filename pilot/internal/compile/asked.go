package compile

import (
	"slices"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// checkAsked reports routes of gateways that would let a client name any host:
// a destination with the resolution DYNAMIC_DNS is called at the host that the
// client names, which must be one of its own.
func checkAsked(v *model.VirtualService, in scope, d *diag.List) {
	if !slices.ContainsFunc(v.Gateways, func(gw string) bool { return gw != meshGateway }) {
		return
	}
	told := map[string]bool{}
	check := func(named []string, to []model.Destination, answer string) {
		for _, dest := range to {
			s, ok := memo.Get(in.r, &in.c.services.Cell, dest.Host)
			if !ok || s.Resolve != model.ResolveAsked {
				continue
			}
			for _, name := range named {
				if !hostname.Covers(s.Host, name) && !told[s.Host+" "+name] {
					told[s.Host+" "+name] = true
					d.Add(diag.AskedBeyond, "spec.hosts", "%s is called at the host that the client names, and %q has hosts that are none of its own: at gateways %s", s.Host, name, answer)
				}
			}
		}
	}
	for _, route := range v.HTTP {
		if f, ok := route.Action.(*model.Forward); ok {
			check(v.Hosts, f.Destinations, "the answer is 503")
			for _, m := range f.Mirrors {
				check(v.Hosts, []model.Destination{m.Destination}, "it gets no copy")
			}
		}
	}
	for _, route := range slices.Concat(v.TLS, v.TCP) {
		named := route.SNI
		if len(named) == 0 {
			named = v.Hosts
		}
		check(named, route.Destinations, "the connection is closed")
	}
}
