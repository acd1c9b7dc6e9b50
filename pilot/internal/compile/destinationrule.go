package compile

import (
	"cmp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
)

// compileDestinationRule reads one DestinationRule. What cannot be honoured is
// reported and left out; the rest is in force.
//
// Source: istio.io/api networking/v1alpha3, message DestinationRule.
func compileDestinationRule(o *config.Object, in scope, d *diag.List) *model.Policy {
	spec, ok := o.Spec.(*networking.DestinationRule)
	if !ok || !checkHost(spec.GetHost(), "spec.host", d) {
		return nil
	}
	out := &model.Policy{
		Namespace: o.Namespace, Name: o.Name, Origin: origin(o, "networking.istio.io", "destination-rule"), Rank: rank(o),
		Host:     hostname.Qualify(spec.GetHost(), o.Namespace, in.settings().ClusterDomain),
		ExportTo: exportTo(spec.GetExportTo(), in.settings().DestinationRuleExport, "spec.exportTo", d),
		Selector: spec.GetWorkloadSelector().GetMatchLabels(),
	}
	if len(out.Selector) == 0 {
		out.Selector = nil
	}
	t := traffic{d: d, service: in.service(out.Host), in: in, namespace: o.Namespace, selecting: out.Selector != nil}
	if !strings.HasPrefix(out.Host, "*") && t.service == nil {
		d.Add(diag.NotFound, "spec.host", "host %q not found", out.Host)
	}
	out.Traffic = t.byPort(spec.GetTrafficPolicy(), "spec.trafficPolicy")
	out.Subsets = t.subsets(spec.GetSubsets())
	return out
}

// traffic reads TrafficPolicy messages.
type traffic struct {
	d       *diag.List
	service *model.Service // nil: not known
	in      scope
	// namespace is the rule's; selecting: it has a workloadSelector.
	namespace string
	selecting bool
}

// maxSubset bounds the name of a subset, which is part of a server name: a label
// of DNS, as in Istio's validation (validateSubsetName).
const maxSubset = 63

func (t traffic) subsets(in []*networking.Subset) (out []model.Subset) {
	for i, s := range in {
		at := diag.Path("spec.subsets").Index(i)
		switch {
		case len(s.GetName()) > maxSubset:
			t.d.Add(diag.Invalid, at.Field("name"), "has %d characters; the name of a subset has at most %d", len(s.GetName()), maxSubset)
			continue
		case s.GetName() == "" || strings.ContainsAny(s.GetName(), "|/ \t\r\n\x00"):
			t.d.Add(diag.Invalid, at.Field("name"), "%q is not a name of a subset", s.GetName())
			continue
		case slices.ContainsFunc(out, func(o model.Subset) bool { return o.Name == s.GetName() }):
			t.d.Add(diag.Duplicate, at.Field("name"), "subset %q stands twice; the first is in force", s.GetName())
			continue
		}
		sub := model.Subset{Name: s.GetName(), PortTraffic: t.byPort(s.GetTrafficPolicy(), at.Field("trafficPolicy"))}
		if len(s.GetLabels()) > 0 {
			sub.Labels = s.GetLabels()
		}
		out = append(out, sub)
	}
	return out
}

// byPort reads a policy and its portLevelSettings, which replace it wholly.
func (t traffic) byPort(in *networking.TrafficPolicy, at diag.Path) (out model.PortTraffic) {
	out.Traffic = t.settings(in, at)
	out.Traffic.ProxyProtocol = t.proxyProtocol(in.GetProxyProtocol())
	if out.Tunnel = t.tunnel(in.GetTunnel(), at.Field("tunnel")); out.Tunnel != nil && out.Traffic.ProxyProtocol != nil {
		t.d.Add(diag.Invalid, at.Field("proxyProtocol"), "it cannot stand beside tunnel (Istio); the tunnel is in force")
		out.Traffic.ProxyProtocol = nil
	}
	out.Traffic.RetryBudget = t.retryBudget(in.GetRetryBudget(), at.Field("retryBudget"))
	for i, p := range in.GetPortLevelSettings() {
		at := at.Field("portLevelSettings").Index(i)
		port := p.GetPort().GetNumber()
		if !checkPort(port, at.Field("port.number"), t.d) {
			continue
		}
		if slices.ContainsFunc(out.Ports, func(o model.PortOverride) bool { return o.Port == port }) {
			t.d.Add(diag.Duplicate, at.Field("port.number"), "port %d stands twice; the first is in force", port)
			continue
		}
		if t.service != nil && !hasPort(t.service, port) {
			t.d.Add(diag.NotFound, at.Field("port.number"), "service %s has no port %d", t.service.Host, port)
		}
		out.Ports = append(out.Ports, model.PortOverride{Port: port, Traffic: t.settings(p, at).Whole(out.Traffic)})
	}
	slices.SortFunc(out.Ports, func(a, b model.PortOverride) int { return cmp.Compare(a.Port, b.Port) })
	return out
}

func hasPort(s *model.Service, port uint32) bool {
	_, ok := s.Port(port)
	return ok
}

// trafficSettings is what TrafficPolicy and PortTrafficPolicy share.
type trafficSettings interface {
	GetLoadBalancer() *networking.LoadBalancerSettings
	GetConnectionPool() *networking.ConnectionPoolSettings
	GetOutlierDetection() *networking.OutlierDetection
	GetTls() *networking.ClientTLSSettings
}

func (t traffic) settings(in trafficSettings, at diag.Path) model.Traffic {
	return model.Traffic{
		LB:      t.loadBalancer(in.GetLoadBalancer(), at.Field("loadBalancer")),
		Pool:    t.pool(in.GetConnectionPool(), at.Field("connectionPool")),
		Outlier: t.outlier(in.GetOutlierDetection(), at.Field("outlierDetection")),
		TLS:     t.tls(in.GetTls(), at.Field("tls")),
	}
}

// outlier reads trafficPolicy.outlierDetection. Istio's default of 5
// consecutive 5xx and its intervals are Envoy's, so absent stays absent.
func (t traffic) outlier(in *networking.OutlierDetection, at diag.Path) *model.OutlierDetection {
	if in == nil {
		return nil
	}
	out := &model.OutlierDetection{SplitLocal: in.GetSplitExternalLocalOriginErrors()}
	if v := in.GetConsecutive_5XxErrors(); v != nil {
		n := v.GetValue()
		out.Consecutive5xx = &n
	}
	if v := in.GetConsecutiveGatewayErrors(); v != nil {
		n := v.GetValue()
		out.ConsecutiveGateway = &n
	}
	if v := in.GetConsecutiveLocalOriginFailures(); v != nil {
		n := v.GetValue()
		out.ConsecutiveLocal = &n
		if n > 0 && !out.SplitLocal {
			t.d.Add(diag.NoEffect, at.Field("consecutiveLocalOriginFailures"), "it counts only with splitExternalLocalOriginErrors: true")
		}
	}
	out.Codes = t.errorCodes(in.GetOutlierDetectionHttpErrorCodes(), at.Field("outlierDetectionHttpErrorCodes"))
	out.Interval, _ = positive(in.GetInterval(), at.Field("interval"), t.d)
	out.BaseEjection, _ = positive(in.GetBaseEjectionTime(), at.Field("baseEjectionTime"), t.d)
	if n := t.percent(in.GetMaxEjectionPercent(), at.Field("maxEjectionPercent")); n > 0 {
		out.MaxEjectionPercent = &n
	}
	out.MinHealthPercent = t.percent(in.GetMinHealthPercent(), at.Field("minHealthPercent"))
	return out
}

func (t traffic) percent(n int32, at diag.Path) uint32 {
	if n < 0 || n > 100 {
		t.d.Add(diag.Invalid, at, "must be 0..100, got %d", n)
		return 0
	}
	return uint32(n)
}
