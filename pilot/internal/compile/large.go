package compile

import (
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// maxRoutes bounds the routes that one VirtualService makes: each of its hosts
// has all of its routes, so that an object of 1 MB with 1,000 hosts and 10,000
// routes would make ten million in each proxy, and in the pilot. 10,000 are 4.5 MB
// as they are sent (docs/performance.md): these would be twenty times that.
const maxRoutes = 200_000

// tooManyRoutes: routes of all hosts of an object that are more than a proxy can
// hold.
var tooManyRoutes = diag.Finding{Code: "WEFT0210", Severity: diag.Error, Cure: "give the VirtualService fewer hosts or fewer routes, or take it apart"}

// affordable reports whether the routes of an object, for all of its hosts, are
// not too many for a proxy to hold.
func affordable(vs *model.VirtualService, d *diag.List) bool {
	hosts, routes := len(vs.Hosts), len(vs.HTTP)
	if hosts*routes <= maxRoutes {
		return true
	}
	d.Add(tooManyRoutes, "spec.hosts", "%d hosts with %d routes each are %d in every proxy; one object may make %d", hosts, routes, hosts*routes, maxRoutes)
	return false
}
