package compile

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// proxyProtocol reads trafficPolicy.proxyProtocol.
func (t traffic) proxyProtocol(in *networking.TrafficPolicy_ProxyProtocol) *model.ProxyProtocol {
	if in == nil {
		return nil
	}
	return &model.ProxyProtocol{V2: in.GetVersion() == networking.TrafficPolicy_ProxyProtocol_V2}
}

// tunnel reads trafficPolicy.tunnel; where a part is wrong there is no tunnel.
func (t traffic) tunnel(in *networking.TrafficPolicy_TunnelSettings, at diag.Path) *model.Tunnel {
	if in == nil {
		return nil
	}
	out := &model.Tunnel{Post: in.GetProtocol() == "POST"}
	if p := in.GetProtocol(); p != "" && p != "CONNECT" && p != "POST" {
		t.d.Add(diag.Invalid, at.Field("protocol"), "must be CONNECT or POST, got %q; nothing is tunnelled", p)
		out = nil
	}
	if out != nil && out.Post && !t.onlyHTTP2() {
		// Envoy 1.40 ends with a segmentation fault when the proxy answers.
		t.d.Add(diag.Invalid, at.Field("protocol"), "Envoy bears POST only over HTTP/2: all ports of the proxy's service must be named http2; nothing is tunnelled; CONNECT is borne over both")
		out = nil
	}
	host := in.GetTargetHost()
	if _, err := netip.ParseAddr(host); err != nil && (strings.HasPrefix(host, "*") || !checkHost(host, at.Field("targetHost"), t.d)) {
		if strings.HasPrefix(host, "*") {
			t.d.Add(diag.Invalid, at.Field("targetHost"), "must be a whole name or an address, got %q; nothing is tunnelled", host)
		}
		out = nil
	}
	if !checkPort(in.GetTargetPort(), at.Field("targetPort"), t.d) || out == nil {
		return nil
	}
	out.Target = net.JoinHostPort(host, strconv.FormatUint(uint64(in.GetTargetPort()), 10))
	return out
}

// onlyHTTP2 reports whether the rule's service is known to speak nothing else.
func (t traffic) onlyHTTP2() bool {
	return t.service != nil && !slices.ContainsFunc(t.service.Ports, func(p model.Port) bool { return !p.Protocol.IsHTTP2() })
}

// retryBudget reads trafficPolicy.retryBudget: 20% and 3 are its defaults.
func (t traffic) retryBudget(in *networking.TrafficPolicy_RetryBudget, at diag.Path) *model.RetryBudget {
	if in == nil {
		return nil
	}
	out := &model.RetryBudget{Percent: 20, Least: 3}
	if p := in.GetPercent(); p != nil {
		if v := p.GetValue(); v >= 0 && v <= 100 {
			out.Percent = v
		} else {
			t.d.Add(diag.Invalid, at.Field("percent"), "must be 0..100, got %v; 20 is in force", v)
		}
	}
	if n := in.GetMinRetryConcurrency(); n > 0 {
		out.Least = n
	}
	out.Interval, _ = notNegative(in.GetBudgetInterval(), at.Field("budgetInterval"), t.d)
	return out
}

// errorCodes reads outlierDetectionHttpErrorCodes.
func (t traffic) errorCodes(in []uint32, at diag.Path) (out []uint32) {
	for i, code := range in {
		switch {
		case code < 100 || code > 599:
			t.d.Add(diag.Invalid, at.Index(i), "must be 100..599, got %d", code)
		case !slices.Contains(out, code):
			out = append(out, code)
		}
	}
	slices.Sort(out)
	return out
}
