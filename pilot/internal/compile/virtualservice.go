package compile

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
)

// meshGateway is the reserved gateway name that stands for all sidecars.
const meshGateway = "mesh"

// routing is what the functions that read one VirtualService share.
type routing struct {
	in        scope
	d         *diag.List
	namespace string
	origin    model.Origin
	settings  *model.Settings
	// own are the hosts of a VirtualService for the mesh alone: where one of
	// them is the destination, the client's port is the service's.
	own []string
	// doors are the object's gateways, as Scope.Gateways.
	doors []string
	// matched holds what the routes so far take, and takesAll the first that
	// takes every request.
	matched  map[string]diag.Path
	wider    shadows
	takesAll diag.Path
	// kind is which of the lists of routes is being read, and hosts are the
	// object's, as written and qualified.
	kind  routeKind
	hosts []string
}

// compileVirtualService reads one VirtualService. What cannot be
// honoured is reported and left out; the rest is in force.
//
// Source: istio.io/api networking/v1alpha3, message VirtualService.
func compileVirtualService(o *config.Object, in scope, d *diag.List) *model.VirtualService {
	spec, ok := o.Spec.(*networking.VirtualService)
	if !ok {
		return nil
	}
	c := &routing{in: in, d: d, namespace: o.Namespace, origin: origin(o, "networking.istio.io", "virtual-service"), settings: in.settings(), wider: shadows{}}
	if len(spec.GetHosts()) == 0 {
		c.delegateAlone(o, spec)
		return nil
	}
	out := &model.VirtualService{
		Namespace: o.Namespace, Name: o.Name, Origin: c.origin, Rank: rank(o),
		Gateways: c.gateways(spec.GetGateways(), "spec.gateways"),
		ExportTo: exportTo(spec.GetExportTo(), in.settings().VirtualServiceExport, "spec.exportTo", d),
	}
	c.doors = out.Gateways
	out.Hosts = c.hostList(spec.GetHosts(), slices.Contains(out.Gateways, meshGateway))
	out.Hosts = slices.DeleteFunc(out.Hosts, func(host string) bool {
		return !in.mayClaim(o.Namespace, host, out.ExportTo, "spec.hosts", d)
	})
	if slices.Equal(out.Gateways, []string{meshGateway}) {
		c.own = out.Hosts
	}
	for i, route := range spec.GetHttp() {
		if at := diag.Path("spec.http").Index(i); route == nil {
			d.Add(diag.RouteToNothing, at, "the route is empty")
		} else {
			out.HTTP = append(out.HTTP, c.route(route, at)...)
		}
	}
	c.bytes(out, spec)
	if len(out.Hosts) == 0 || len(out.Gateways) == 0 || !affordable(out, d) {
		return nil
	}
	return out
}

// hostList resolves and checks the list of hosts; each stands once in the result.
func (c *routing) hostList(in []string, inMesh bool) (out []string) {
	at := diag.Path("spec.hosts")
	for i, h := range in {
		at := at.Index(i)
		if !checkHost(h, at, c.d) {
			continue
		}
		host := c.qualify(h)
		switch {
		case slices.Contains(out, host):
			c.d.Add(diag.Duplicate, at, "host %q stands twice", host)
			continue
		case host == "*" && inMesh:
			c.d.Add(diag.Invalid, at, `"*" would take the requests of the whole mesh; it is allowed for gateways only`)
			continue
		}
		out = append(out, host)
	}
	return out
}

// qualify resolves a host name as seen from the object's namespace.
func (c *routing) qualify(host string) string {
	return hostname.Qualify(host, c.namespace, c.settings.ClusterDomain)
}

// gateways resolves gateway names to "mesh" or "namespace/name". An empty list
// is the mesh.
func (c *routing) gateways(in []string, at diag.Path) (out []string) {
	if len(in) == 0 {
		return []string{meshGateway}
	}
	for i, name := range in {
		key, ok := c.gatewayKey(name)
		if !ok {
			c.d.Add(diag.Invalid, at.Index(i), "%q is not a gateway (NAME, NAMESPACE/NAME or mesh)", name)
			continue
		}
		if key != meshGateway && !c.in.hasGateway(key) {
			c.d.Add(diag.NotFound, at.Index(i), "Gateway %q not found", key)
		}
		if !slices.Contains(out, key) {
			out = append(out, key)
		}
	}
	return out
}

func (c *routing) gatewayKey(name string) (string, bool) {
	if name == meshGateway {
		return name, true
	}
	ns, short, ok := strings.Cut(name, "/")
	switch {
	case !ok && strings.Contains(name, "."):
		// The legacy form NAME.NAMESPACE.svc.DOMAIN.
		parts := strings.Split(name, ".")
		ns, short = parts[1], parts[0]
	case !ok:
		ns, short = c.namespace, name
	case ns == ".":
		ns = c.namespace
	}
	return ns + "/" + short, hostname.IsLabel(ns) && short != "" && hostname.Check(short) == nil
}
