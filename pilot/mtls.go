package pilot

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/compile"
	"github.com/weftmesh/weft/pilot/internal/view"
)

// PlainCalls are calls that reached a pod's proxy without the mesh's mTLS, as it
// has counted them by the caller's address.
type PlainCalls struct {
	Namespace string    `json:"namespace"`
	Pod       string    `json:"pod"`
	Port      uint32    `json:"port"`
	Address   string    `json:"address"`
	Wire      string    `json:"wire"` // plaintext, or tls: the app's own
	Calls     uint64    `json:"calls"`
	Last      time.Time `json:"last"` // zero: not known
}

// MTLSQuestion is what MTLS is asked.
type MTLSQuestion struct {
	// Now is what holds. Pods in it are best whole: of those that are not, probes
	// are not known.
	Now config.Set
	// Then is what would hold; nil: STRICT in every namespace and in the mesh, so
	// that policies with a selector alone say another mode.
	Then *config.Set
	// Namespace and Workload that are asked about; empty: all.
	Namespace, Workload string
	Calls               []PlainCalls
	// Answered are the pods, "namespace/name", whose proxies have said what they
	// counted.
	Answered []string
}

// MTLSStatus says which mTLS modes hold, and whom STRICT would refuse.
type MTLSStatus struct {
	Workloads []MTLSWorkload `json:"workloads"`
	// Bare are workloads without a sidecar, "namespace/name", sorted: a STRICT
	// port refuses whatever they send.
	Bare []string `json:"withoutSidecar"`
	// Unanswered are pods and machines of Workloads, "namespace/name", sorted,
	// whose proxies were not asked or did not answer: who calls them is not known.
	Unanswered []string `json:"unanswered"`
}

// MTLSWorkload is a Deployment or the like with a sidecar, or a gRPC server that
// speaks xDS itself.
type MTLSWorkload struct {
	Namespace string     `json:"namespace"`
	Name      string     `json:"name"`
	Pods      []string   `json:"pods"`
	Proxyless bool       `json:"proxyless,omitempty"`
	Ports     []MTLSPort `json:"ports"`
	// Breaks are what STRICT would refuse, by port.
	Breaks []MTLSBreak `json:"breaks"`
	// Refused are callers without mTLS at ports that are STRICT already.
	Refused []MTLSBreak `json:"refused,omitempty"`
}

// MTLSPort is the mode of a port, now and then.
type MTLSPort struct {
	Port     uint32   `json:"port"` // 0: every other
	Services []string `json:"services,omitempty"`
	Mode     string   `json:"mode"`
	// By is the PeerAuthentication that says so, "namespace/name"; empty: it is
	// the default.
	By     string `json:"by,omitempty"`
	Then   string `json:"then"`
	ThenBy string `json:"thenBy,omitempty"`
	// Uncaptured is the annotation by which the port passes the proxy by: no mode
	// holds there.
	Uncaptured string `json:"uncaptured,omitempty"`
}

// MTLSBreak is somebody whom STRICT would refuse.
type MTLSBreak struct {
	Port uint32 `json:"port"`
	// Kind is caller (it was seen), rule (a DestinationRule), probe, scrape, door (a
	// Service for clients outside), or disabled.
	Kind string `json:"kind"`
	What string `json:"what"`
	Cure string `json:"cure"`
	// Seen, of a caller, is what was counted.
	Seen *PlainCalls `json:"seen,omitempty"`
}

// MTLS says which modes hold and what STRICT would break. It has no effect.
func MTLS(q MTLSQuestion) MTLSStatus {
	then := q.Now
	if q.Then != nil {
		then = *q.Then
	}
	m := &mtls{q: q, now: compileMesh(q.Now).Mesh, set: then, then: compileMesh(then).Mesh}
	m.rules = m.plainRules()
	out := MTLSStatus{Workloads: []MTLSWorkload{}, Bare: []string{}, Unanswered: []string{}}
	groups := m.groups()
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		pods := groups[name]
		w := pods[0]
		switch asked := (q.Namespace == "" || q.Namespace == w.Namespace) && (q.Workload == "" || q.Workload == w.Controller); {
		case !w.InMesh && !w.Proxyless:
			if w.Namespace != m.now.Settings.RootNamespace {
				out.Bare = append(out.Bare, name)
			}
		case asked:
			out.Workloads = append(out.Workloads, m.workload(pods))
			out.Unanswered = append(out.Unanswered, m.unanswered(pods)...)
		}
	}
	slices.Sort(out.Unanswered)
	return out
}

// unanswered are those of some pods that nothing is known of. Who has no address
// yet was called by nobody, and who has no proxy counts nothing.
func (m *mtls) unanswered(pods []*model.Workload) (out []string) {
	for _, w := range pods {
		if name := w.Namespace + "/" + w.Name; w.InMesh && !w.Proxyless && len(w.Addresses) > 0 && !slices.Contains(m.q.Answered, name) {
			out = append(out, name)
		}
	}
	return out
}

// mtls is what the parts of an answer share.
type mtls struct {
	q         MTLSQuestion
	now, then *model.Mesh
	set       config.Set // of then
	// rules are those by which clients open no mesh mTLS, and in which namespaces,
	// by "port host".
	rules map[string]map[string][]string
}

// groups are the pods of each workload, "namespace/name", but gateways': they
// have no app that anybody calls.
func (m *mtls) groups() map[string][]*model.Workload {
	out := map[string][]*model.Workload{}
	for _, w := range m.now.Workloads.All() {
		if !m.isGateway(w) {
			name := w.Namespace + "/" + w.Controller
			out[name] = append(out[name], w)
		}
	}
	return out
}

func (m *mtls) isGateway(w *model.Workload) bool {
	if strings.HasSuffix(w.Labels["istio"], "gateway") || w.Labels["gateway.networking.k8s.io/gateway-name"] != "" {
		return true
	}
	for _, gw := range m.now.Gateways.All() {
		if len(gw.Selector) > 0 && model.Selects(gw.Selector, w.Labels) {
			return true
		}
	}
	return false
}

// plainRules finds what clients of each namespace do, for rules shadow one
// another there.
func (m *mtls) plainRules() map[string]map[string][]string {
	out, namespaces := map[string]map[string][]string{}, map[string]bool{}
	for _, w := range m.then.Workloads.All() {
		if w.InMesh {
			namespaces[w.Namespace] = true
		}
	}
	for _, ns := range slices.Sorted(maps.Keys(namespaces)) {
		for _, c := range view.Of(m.then, model.ProxyClass{Role: model.RoleOutbound, Namespace: ns}).Clusters.All() {
			if c.Traffic.TLS == nil || c.Traffic.TLS.Mode == model.TLSMesh {
				continue
			}
			at, rule := portAt(c.Port.Number, c.Service.Host), c.Origin.Source()
			if out[at] == nil {
				out[at] = map[string][]string{}
			}
			if !slices.Contains(out[at][rule], ns) {
				out[at][rule] = append(out[at][rule], ns)
			}
		}
	}
	return out
}

func portAt(port uint32, host string) string {
	return strconv.FormatUint(uint64(port), 10) + " " + host
}

// served is a port of a service that leads to a workload's port.
type served struct {
	service *model.Service
	number  uint32
}

// ports are those of a workload that something names, and 0.
func (m *mtls) ports(pods []*model.Workload) map[uint32][]served {
	w, out := pods[0], map[uint32][]served{0: nil}
	for _, s := range m.then.Services.All() {
		if w.Namespace != s.Namespace || !s.Selects(w.Labels) {
			continue
		}
		for _, p := range s.Ports {
			if p.Protocol != model.ProtocolUDP {
				target := p.Target
				if p.TargetName != "" {
					target = w.Ports[p.TargetName]
				}
				out[target] = append(out[target], served{s, p.Number})
			}
		}
	}
	know := func(port uint32) { out[port] = append(out[port], []served(nil)...) } // even of no Service
	for _, port := range w.Ports {
		know(port)
	}
	for _, mesh := range []*model.Mesh{m.now, m.then} {
		for _, p := range mesh.PeerAuth.All() {
			if p.Namespace == w.Namespace && len(p.Selector) > 0 && model.Selects(p.Selector, w.Labels) {
				for port := range p.Ports {
					know(port)
				}
			}
		}
	}
	for _, c := range m.named(pods) {
		know(c.Port)
	}
	for _, c := range m.calls(pods) {
		know(c.Port)
	}
	return out
}

// calls are those that pods have counted.
func (m *mtls) calls(pods []*model.Workload) (out []PlainCalls) {
	for _, c := range m.q.Calls {
		if slices.ContainsFunc(pods, func(w *model.Workload) bool { return w.Namespace == c.Namespace && w.Name == c.Pod }) {
			out = append(out, c)
		}
	}
	return out
}

func (m *mtls) workload(pods []*model.Workload) MTLSWorkload {
	w := pods[0]
	out := MTLSWorkload{Namespace: w.Namespace, Name: w.Controller, Proxyless: w.Proxyless, Ports: []MTLSPort{}, Breaks: []MTLSBreak{}}
	for _, p := range pods {
		out.Pods = append(out.Pods, p.Name)
	}
	ports := m.ports(pods)
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		one := m.port(w, port)
		for _, s := range ports[port] {
			one.Services = append(one.Services, s.service.Host)
		}
		slices.Sort(one.Services)
		one.Services = slices.Compact(one.Services)
		out.Ports = append(out.Ports, one)
		switch strict := model.MTLSStrict.String(); {
		case one.Uncaptured != "":
		case one.Mode == strict:
			out.Refused = append(out.Refused, m.callers(pods, port)...)
		case one.Then == strict:
			out.Breaks = append(out.Breaks, m.breaks(pods, one, ports)...)
		}
	}
	return out
}

func (m *mtls) port(w *model.Workload, port uint32) MTLSPort {
	now, then := view.MTLSRuleOf(m.now, w, port), view.MTLSRuleOf(m.then, w, port)
	if m.q.Then == nil && !now.Own {
		then = view.MTLSRule{Mode: model.MTLSStrict}
	}
	out := MTLSPort{Port: port, Mode: now.Mode.String(), By: now.By, Then: then.Mode.String(), ThenBy: then.By}
	if o, ok := m.q.Now.Of(config.Pod).Get(w.Namespace + "/" + w.Name); ok && port != 0 {
		out.Uncaptured = compile.Uncaptured(o, port)
	}
	return out
}
