package pilot

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/authz"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
)

// server is one of a Gateway at a port of a gateway's pod.
type server struct {
	*model.Server
	gateway string // its key
}

// passes is why a gateway's policies have no say.
const passes = "the gateway passes connections on as they are (tls.mode AUTO_PASSTHROUGH), by their server name, and asks no policy of its own: ask about the workload that they go to"

// doors are the servers of Gateways that a workload has at one of its ports; none,
// if it is no gateway. The injector marks gateways' pods as injected, too: this
// label alone is of sidecars.
func (e *explainer) doors(w *model.Workload, port uint32) (out []server) {
	if w.Labels[model.LabelTLSMode] == "istio" || w.Proxyless {
		return nil
	}
	for key, g := range e.mesh.Gateways.All() {
		if len(g.Selector) == 0 || !model.Selects(g.Selector, w.Labels) {
			continue
		}
		for i := range g.Servers {
			if e.listens(w, g.Servers[i].Port) == port {
				out = append(out, server{&g.Servers[i], key})
			}
		}
	}
	return out
}

// listens is the port of the pod for a server's port: that to which a service in
// front of it leads, else the same.
func (e *explainer) listens(w *model.Workload, number uint32) uint32 {
	for _, s := range e.mesh.Services.All() {
		if s.Namespace != w.Namespace || !s.Selects(w.Labels) {
			continue
		}
		if p, ok := s.Port(number); ok {
			return cmp.Or(w.Ports[p.TargetName], p.Target, p.Number)
		}
	}
	return number
}

// asks reports whether policies of the gateway are asked about what a server takes.
func asks(d server) bool { return d.TLS == nil || d.TLS.Mode != model.ServerAutoPassthrough }

// checks reports whether a server checks the certificates of its clients.
func (d server) checks() bool {
	return d.TLS != nil && (d.TLS.Mode == model.ServerMesh || d.TLS.Mode.ChecksClients())
}

// provable reports whether a caller can prove an identity: to a sidecar, and to a
// server that checks the certificates of its clients.
func provable(doors []server) bool {
	return len(doors) == 0 || slices.ContainsFunc(doors, server.checks)
}

// of are the servers that take a host: of those whose policies are asked, the ones
// with the narrowest name for it. All, where no host is asked for, or none takes it.
func of(host string, doors []server) (out []server) {
	narrowest := 0
	for _, d := range doors {
		if asks(d) {
			narrowest = max(narrowest, d.fits(host))
		}
	}
	for _, d := range doors {
		if fit := d.fits(host); fit > 0 && (fit == narrowest || !asks(d)) {
			out = append(out, d)
		}
	}
	if host == "" || len(out) == 0 {
		return doors
	}
	return out
}

// fits is how narrow the server's name for a host is, 0 if it has none.
func (d server) fits(host string) (most int) {
	host = strings.ToLower(host)
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	for _, h := range d.Hosts {
		switch {
		case h.Host == host:
			return math.MaxInt
		case hostname.Covers(h.Host, host):
			most = max(most, len(h.Host))
		}
	}
	return most
}

// doubts are why the proxy of a workload may do otherwise than its policies say.
func (e *explainer) doubts(w *model.Workload, doors []server) (out []authz.Doubt) {
	role := model.RoleInbound
	if len(doors) > 0 {
		role = model.RoleRouter
	}
	for _, f := range e.mesh.EnvoyFilters.All() {
		if !w.Proxyless && model.Guarded(f, e.mesh.Settings.RootNamespace, w) {
			out = append(out, authz.Doubts(f, role)...)
		}
	}
	if !slices.ContainsFunc(doors, asks) {
		return out
	}
	asking := slices.DeleteFunc(slices.Clone(doors), func(d server) bool { return !asks(d) })
	for _, d := range doors {
		doubt := authz.Doubt{By: "Gateway " + d.gateway, At: fmt.Sprintf("spec.servers[%d].tls.mode", d.Index)}
		switch {
		case !asks(d):
			doubt.Why = "AUTO_PASSTHROUGH: a connection with a server name of the mesh's own is passed on, and no policy is asked"
		case d.checks() != asking[0].checks():
			doubt.Why = "servers of this port differ in whether they check their clients' certificates: which of them takes a call goes by the host that it asks for"
		default:
			continue
		}
		out = append(out, doubt)
	}
	return out
}
