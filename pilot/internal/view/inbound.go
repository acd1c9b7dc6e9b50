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
	class  model.ProxyClass
	result *memo.Derived[*model.Settings, *model.Inbound]
}

func newInbound(in *inputs, class model.ProxyClass) *inbound {
	labels := model.ParseLabels(class.Labels)
	selecting := ownServices(in, class)
	effective := policies(in, &selecting.Cell)
	auth := memo.Flat(in.graph, &in.peerAuth.Cell, func(r *memo.Reader, key string, p *model.PeerAuth, emit memo.Emit[*model.PeerAuth]) {
		if p.Namespace == class.Namespace && selects(p.Selector, labels) || p.Namespace == in.config(r).RootNamespace && len(p.Selector) == 0 {
			emit(key, p)
		}
	})
	i := &inbound{class: class}
	i.result = memo.Map(in.graph, &in.settings.Cell, func(r *memo.Reader, _ string, settings *model.Settings) (*model.Inbound, bool) {
		modes := modesFor(values(memo.All(r, &auth.Cell)), labels, class.Namespace, settings.RootNamespace)
		out := &model.Inbound{Mode: modes.workload}
		ports := map[uint32]model.InboundPort{}
		for host, s := range memo.All(r, &selecting.Cell).All() {
			e, _ := memo.Get(r, &effective.Cell, host)
			i.addPorts(ports, s, e)
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

// ownServices derives the services that select the class's workloads.
func ownServices(in *inputs, class model.ProxyClass) *memo.Derived[*model.Service, *model.Service] {
	labels := model.ParseLabels(class.Labels)
	return memo.Map(in.graph, &in.services.Cell, func(_ *memo.Reader, _ string, s *model.Service) (*model.Service, bool) {
		return s, s.Namespace == class.Namespace && len(s.Selector) > 0 && selects(s.Selector, labels)
	})
}

func values[V comparable](t memo.Table[V]) (out []V) {
	for _, v := range t.All() {
		out = append(out, v)
	}
	return out
}

func inboundCluster(port uint32) string { return fmt.Sprintf("inbound|%d||", port) }

// addPorts adds the workload's ports that s targets. Of services that target
// one port the first by host says its protocol.
func (i *inbound) addPorts(ports map[uint32]model.InboundPort, s *model.Service, e *effective) {
	for _, p := range s.Ports {
		target := targetOf(i.class, p)
		if _, taken := ports[target]; taken || target == 0 || p.Protocol == model.ProtocolUDP {
			continue
		}
		ports[target] = model.InboundPort{
			Port: target, Protocol: p.Protocol, Cluster: inboundCluster(target), Service: s, Pool: e.forPort(p.Number, nil).Pool,
		}
	}
}

// targetOf is the workload's port for a service port, or 0 if the workload has
// no port of that name.
func targetOf(class model.ProxyClass, p model.Port) uint32 {
	if p.TargetName != "" {
		for part := range strings.SplitSeq(class.Ports, ",") {
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

func (i *inbound) fill(v *model.View) { v.Inbound, _ = i.result.Table().Get("") }
