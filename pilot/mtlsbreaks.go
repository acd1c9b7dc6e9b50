package pilot

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/compile"
)

// breaks are those whom a port refuses when it becomes STRICT.
func (m *mtls) breaks(pods []*model.Workload, port MTLSPort, ports map[uint32][]served) (out []MTLSBreak) {
	out = m.callers(pods, port.Port)
	add := func(kind, cure, what string, args ...any) {
		out = append(out, MTLSBreak{Port: port.Port, Kind: kind, What: fmt.Sprintf(what, args...), Cure: cure})
	}
	if port.Mode == model.MTLSDisable.String() && !pods[0].Proxyless {
		add("disabled", "make it PERMISSIVE first, and STRICT when every proxy has heard of that (weft proxy-status)",
			"it is DISABLE, so clients in the mesh call in plaintext until they hear of the change")
	}
	for _, s := range ports[port.Port] {
		for _, rule := range slices.Sorted(maps.Keys(m.rules[portAt(s.number, s.service.Host)])) {
			add("rule", "have its tls mode be ISTIO_MUTUAL, or leave tls out",
				"%s has clients in %s call %s without the mesh's mTLS", strings.Replace(rule, "/", " ", 1), strings.Join(m.rules[portAt(s.number, s.service.Host)][rule], ", "), s.service.Host)
		}
		if door := compile.Door(m.set, s.service.Namespace, s.service.Name); door != "" {
			add("door", "let them come through a gateway of the mesh, or leave the port PERMISSIVE by portLevelMtls",
				"Service %s/%s is a %s: clients outside have no certificate of the mesh", s.service.Namespace, s.service.Name, door)
		}
	}
	for _, c := range m.named(pods) {
		switch {
		case c.Port != port.Port:
		case c.Kind == "probe":
			add("probe", `remove the annotation sidecar.istio.io/rewriteAppHTTPProbers: "false", and the agent probes the app for the kubelet`,
				"the kubelet probes it in plaintext (%s)", c.At)
		default:
			add("scrape", `remove the annotation prometheus.istio.io/merge-metrics: "false", and Prometheus gets the app's metrics from the agent; or leave the port PERMISSIVE by portLevelMtls`,
				"Prometheus scrapes it in plaintext (%s)", c.At)
		}
	}
	return out
}

// named are the callers that pods' own objects tell of.
func (m *mtls) named(pods []*model.Workload) (out []compile.Caller) {
	for _, w := range pods {
		if o, ok := m.q.Now.Of(config.Pod).Get(w.Namespace + "/" + w.Name); ok {
			for _, c := range compile.CallersOf(o) {
				if !slices.Contains(out, c) {
					out = append(out, c)
				}
			}
		}
	}
	return out
}

// callers are those that were seen at a port, most calls first.
func (m *mtls) callers(pods []*model.Workload, port uint32) (out []MTLSBreak) {
	sums := map[string]*PlainCalls{}
	for _, c := range m.calls(pods) {
		if c.Port != port {
			continue
		}
		who := m.owner(c.Address) + " " + c.Wire
		if sums[who] == nil {
			sums[who] = &PlainCalls{Namespace: c.Namespace, Port: c.Port, Address: c.Address, Wire: c.Wire}
		}
		s := sums[who]
		if s.Calls += c.Calls; c.Last.After(s.Last) {
			s.Last, s.Pod, s.Address = c.Last, c.Pod, c.Address
		}
	}
	for _, s := range sums {
		what, cure := m.caller(s)
		out = append(out, MTLSBreak{Port: port, Kind: "caller", What: what, Cure: cure, Seen: s})
	}
	slices.SortFunc(out, func(a, b MTLSBreak) int {
		return cmp.Or(cmp.Compare(b.Seen.Calls, a.Seen.Calls), cmp.Compare(a.What, b.What))
	})
	return out
}

// owner is the workload that has an address, "namespace/name", or the address.
func (m *mtls) owner(address string) string {
	if w := m.at(address); w != nil {
		return w.Namespace + "/" + w.Controller
	}
	return address
}

func (m *mtls) at(address string) *model.Workload {
	for _, w := range m.now.Workloads.All() {
		if slices.Contains(w.Addresses, address) {
			return w
		}
	}
	return nil
}

// caller says who was seen, and what would have it come by mTLS.
func (m *mtls) caller(c *PlainCalls) (what, cure string) {
	speaks := "in plaintext"
	if c.Wire == "tls" {
		speaks = "by TLS of its own"
	}
	w := m.at(c.Address)
	switch {
	case w == nil:
		return c.Address + ", which no pod has, calls " + speaks,
			"it is a node (its kubelet, or clients of a NodePort) or a machine outside: let it come through a gateway of the mesh, or join the mesh, or leave the port PERMISSIVE by portLevelMtls"
	case !w.InMesh && !w.Proxyless:
		return m.owner(c.Address) + " (" + c.Address + "), which has no sidecar, calls " + speaks, "give it a sidecar, or leave the port PERMISSIVE by portLevelMtls"
	case w.Proxyless:
		return m.owner(c.Address) + " (" + c.Address + "), which has no proxy, calls " + speaks, "let it dial xds:///HOST:PORT with xDS credentials, or give it a sidecar"
	}
	return m.owner(c.Address) + " (" + c.Address + ") calls " + speaks + " though it has a sidecar",
		"see its DestinationRules, its annotations traffic.sidecar.istio.io/exclude..., and whether it dials an address that no service has; if it has got its sidecar since, look at the last call's time"
}
