package view

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// inbound is the server side of a sidecar.
type inbound struct {
	result *memo.Derived[*model.Settings, *model.Inbound]
	// What the proxy calls of its own; assignments are also those of a proxy that
	// asks for its fellows.
	clusters    *memo.Derived[wanted, *model.Cluster]
	assignments *memo.Union[*model.Assignment]
	secrets     *memo.Derived[string, *model.Secret]
}

func newInbound(in *inputs, class model.ProxyClass, own *callees) *inbound {
	selecting := ownServices(in)
	effective := policies(in, &selecting.Cell, in.heedsServing)
	auth := memo.Map(in.graph, &in.peerAuth.Cell, func(r *memo.Reader, _ string, p *model.PeerAuth) (*model.PeerAuth, bool) {
		return p, in.home(r, p.Namespace) && in.selected(r, p.Selector) || p.Namespace == in.config(r).RootNamespace && len(p.Selector) == 0
	})
	i := &inbound{clusters: own.clusters, assignments: memo.NewUnion(in.graph, &own.assignments.Cell)}
	if class.SelfDiscovery {
		i.assignments = memo.NewUnion(in.graph, &i.assignments.Cell, &fellows(in).Cell)
	}
	i.secrets = secretsNamed(in, clusterCredentials(in.graph, &own.clusters.Cell))
	i.result = memo.Map(in.graph, &in.settings.Cell, func(r *memo.Reader, _ string, settings *model.Settings) (*model.Inbound, bool) {
		modes := modesFor(values(memo.All(r, &auth.Cell)), in.labels(r), in.namespace(r), settings.RootNamespace)
		out := &model.Inbound{Mode: modes.workload, Policies: modes.policies}
		ports := map[uint32]model.InboundPort{}
		for host, s := range memo.All(r, &selecting.Cell).All() {
			e, _ := memo.Get(r, &effective.Cell, host)
			addPorts(ports, in.ports(r), s, e)
		}
		if sc := in.sidecar(r); sc != nil {
			ports = ingressPorts(ports, sc)
		}
		for port := range modes.ports {
			if _, ok := ports[port]; !ok {
				ports[port] = model.InboundPort{Port: port, Cluster: inboundCluster(port)}
			}
		}
		for _, port := range slices.Sorted(maps.Keys(ports)) {
			p := ports[port]
			p.Mode = modes.of(port)
			out.Ports = append(out.Ports, p)
		}
		return out, true
	}, memo.Same(sameInbound))
	return i
}

// ownServices derives the services that select the class's workloads. They are
// found by an index that all classes share, so that a class holds only its own.
func ownServices(in *inputs) *memo.Derived[*model.Settings, *model.Service] {
	index := memo.Group(in.graph, &in.services.Cell, func(_ string, s *model.Service) []string {
		var keys []string
		for _, selector := range s.Selectors() {
			label := firstKey(selector)
			if key := selectorKey(s.Namespace, label, selector[label]); !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
		return keys
	})
	return memo.Flat(in.graph, &in.settings.Cell, func(r *memo.Reader, _ string, _ *model.Settings, emit memo.Emit[*model.Service]) {
		namespace := in.namespace(r)
		for k, v := range in.labels(r) {
			candidates, _ := memo.Get(r, &index.Cell, selectorKey(namespace, k, v))
			for host, s := range candidates.All() {
				if slices.ContainsFunc(s.Selectors(), func(selector map[string]string) bool { return in.selected(r, selector) }) {
					emit(host, s)
				}
			}
		}
	})
}

// ingressPorts are the ports that a Sidecar makes of those that services
// target: with ingress listeners no others. Its limits replace the
// DestinationRule's, a listener's own those of the Sidecar.
// Source: istio.io/api networking/v1alpha3, Sidecar.inboundConnectionPool.
func ingressPorts(ports map[uint32]model.InboundPort, sc *model.Sidecar) map[uint32]model.InboundPort {
	out := maps.Clone(ports)
	if len(sc.Ingress) > 0 {
		out = map[uint32]model.InboundPort{}
	}
	for _, l := range sc.Ingress {
		p := ports[l.Port] // its service, if there is one
		p.Port, p.Protocol, p.Cluster = l.Port, l.Protocol, inboundCluster(l.Port)
		p.Bind, p.Local, p.LocalPort, p.TLS = l.Bind, l.Local, l.LocalPort, l.TLS
		out[l.Port] = p
	}
	for port, p := range out {
		if sc.InboundPool != nil {
			p.Pool = sc.InboundPool
		}
		for _, l := range sc.Ingress {
			if l.Port == port && l.Pool != nil {
				p.Pool = l.Pool
			}
		}
		out[port] = p
	}
	return out
}

func selectorKey(namespace, key, value string) string { return namespace + "/" + key + "=" + value }

func values[V comparable](t memo.Table[V]) (out []V) {
	for _, v := range t.All() {
		out = append(out, v)
	}
	return out
}

func inboundCluster(port uint32) string { return fmt.Sprintf("inbound|%d||", port) }

// addPorts adds the workload's ports that s targets; named are those with a name,
// as a class has them. Of services that target
// one port the first by host says its protocol.
func addPorts(ports map[uint32]model.InboundPort, named string, s *model.Service, e *effective) {
	for _, p := range s.Ports {
		target := targetOf(named, p)
		if target == 0 || p.Protocol == model.ProtocolUDP {
			continue
		}
		if first, taken := ports[target]; taken {
			first.Reports = first.Reports || s.Balancer == model.LBLatency
			ports[target] = first
			continue
		}
		ports[target] = model.InboundPort{
			Port: target, Protocol: p.Protocol, Cluster: inboundCluster(target), Service: s, Pool: e.forPort(p.Number, nil).Pool,
			Reports: s.Balancer == model.LBLatency,
		}
	}
}

// targetOf is the workload's port for a service port, or 0 if the workload has
// no port of that name.
func targetOf(named string, p model.Port) uint32 {
	if p.TargetName != "" {
		for part := range strings.SplitSeq(named, ",") {
			if number, ok := strings.CutPrefix(part, p.TargetName+"="); ok {
				n, err := strconv.ParseUint(number, 10, 16)
				if err != nil {
					return 0
				}
				return uint32(n)
			}
		}
	}
	return cmp.Or(p.Target, noName(p))
}

// noName is the service's own port where no target is given.
func noName(p model.Port) uint32 {
	if p.TargetName != "" {
		return 0
	}
	return p.Number
}

func (i *inbound) fill(v *model.View) {
	v.Inbound, _ = i.result.Table().Get("")
	v.Clusters, v.Assignments, v.Secrets = i.clusters.Table(), i.assignments.Table(), i.secrets.Table()
}
