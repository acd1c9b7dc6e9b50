package compile

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/gateway"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

const (
	unixPrefix = "unix://"
	loopback   = "127.0.0.1"
)

// compileSidecar reads one Sidecar. What cannot be honoured is reported and
// left out; the rest is in force. A host that cannot be read is left out too,
// so that less is seen than was meant, and its finding says so.
//
// Source: istio.io/api networking/v1alpha3, message Sidecar.
func compileSidecar(o *config.Object, in scope, d *diag.List) *model.Sidecar {
	spec, ok := o.Spec.(*networking.Sidecar)
	if !ok {
		return nil
	}
	c := &sidecarReader{in: in, d: d, namespace: o.Namespace}
	out := &model.Sidecar{
		Namespace: o.Namespace, Name: o.Name, Rank: rank(o), Origin: origin(o, "networking.istio.io", "sidecar"),
		InboundPool: c.pool(spec.GetInboundConnectionPool(), "spec.inboundConnectionPool"),
		Unknown:     c.unknown(spec.GetOutboundTrafficPolicy(), "spec.outboundTrafficPolicy"),
	}
	if labels := spec.GetWorkloadSelector().GetLabels(); len(labels) > 0 {
		out.Selector = labels
	}
	for i, l := range spec.GetEgress() {
		if next, ok := c.egress(l, out.Egress, diag.Path("spec.egress").Index(i)); ok {
			out.Egress = append(out.Egress, next)
		}
	}
	if len(out.Egress) == 0 && len(spec.GetEgress()) > 0 {
		// None of what was asked for can be had; that is not "everything".
		out.Egress = []model.EgressListener{{}}
	}
	for i, l := range spec.GetIngress() {
		if next, ok := c.ingress(l, out.Ingress, diag.Path("spec.ingress").Index(i)); ok {
			out.Ingress = append(out.Ingress, next)
		}
	}
	return out
}

// sidecarReader is what the functions that read one Sidecar share.
type sidecarReader struct {
	in        scope
	d         *diag.List
	namespace string
}

func (c *sidecarReader) pool(in *networking.ConnectionPoolSettings, at diag.Path) *model.ConnectionPool {
	return traffic{d: c.d, in: c.in, namespace: c.namespace}.pool(in, at)
}

func (c *sidecarReader) unknown(in *networking.OutboundTrafficPolicy, at diag.Path) *model.UnknownPolicy {
	if in == nil {
		return nil
	}
	out := &model.UnknownPolicy{AllowAny: in.GetMode() == networking.OutboundTrafficPolicy_ALLOW_ANY}
	p := in.GetEgressProxy()
	switch at := at.Field("egressProxy"); {
	case p == nil:
	case !out.AllowAny:
		c.d.Add(diag.NoEffect, at, "it is used with mode ALLOW_ANY only; unknown destinations are refused")
	case checkHost(p.GetHost(), at.Field("host"), c.d):
		to := &model.Destination{Host: hostname.Qualify(p.GetHost(), c.namespace, c.in.settings().ClusterDomain), Subset: p.GetSubset(), Port: p.GetPort().GetNumber()}
		if s := c.in.service(to.Host); s == nil {
			c.d.Add(diag.NotFound, at.Field("host"), "host %q not found; unknown destinations are refused until it is there", to.Host)
		} else if to.Port == 0 && len(s.Ports) == 1 {
			to.Port = s.Ports[0].Number
		} else if !hasPort(s, to.Port) {
			c.d.Add(diag.PortNeeded, at.Field("port.number"), "service %s has no port %d; unknown destinations are refused", s.Host, to.Port)
		}
		out.Proxy = to
	}
	return out
}

// egress reads one egress listener; before are those that stand before it.
func (c *sidecarReader) egress(in *networking.IstioEgressListener, before []model.EgressListener, at diag.Path) (out model.EgressListener, ok bool) {
	if p := in.GetPort(); p != nil {
		if out.Port, out.Protocol, ok = c.port(p, strings.HasPrefix(in.GetBind(), unixPrefix), at.Field("port")); !ok {
			return out, false
		}
	}
	if !c.bind(in, &out, at) {
		return out, false
	}
	if same := slices.IndexFunc(before, func(o model.EgressListener) bool { return o.Port == out.Port && o.Bind == out.Bind }); same >= 0 && out.Port > 0 {
		c.d.Add(diag.Duplicate, at.Field("port"), "port %d is in an earlier egress listener, which is in force", out.Port)
		return out, false
	} else if same >= 0 && !out.Bound {
		c.d.Add(diag.Duplicate, at, "an earlier egress listener has no port either; the hosts of both are in force")
	}
	if len(in.GetHosts()) == 0 {
		c.d.Add(diag.Invalid, at.Field("hosts"), "there is no host, so nothing is seen through the listener")
	}
	for i, text := range in.GetHosts() {
		if h, ok := c.host(text, at.Field("hosts").Index(i)); ok {
			out.Hosts = append(out.Hosts, h)
		}
	}
	return out, true
}

// port reads a SidecarPort; a Unix socket has the number 0.
func (c *sidecarReader) port(in *networking.SidecarPort, socket bool, at diag.Path) (number uint32, protocol model.Protocol, ok bool) {
	number = in.GetNumber()
	switch {
	case socket && number == 0:
	case socket:
		c.d.Add(diag.Invalid, at.Field("number"), "a Unix socket has no port; write 0")
		return 0, 0, false
	case !checkPort(number, at.Field("number"), c.d):
		return 0, 0, false
	case number == captureOutbound || number == captureInbound:
		c.d.Add(diag.Invalid, at.Field("number"), "%d is where sidecars take captured connections", number)
		return 0, 0, false
	}
	if in.GetTargetPort() != 0 { //nolint:staticcheck // still in the API
		c.d.Add(diag.NoEffect, at.Field("targetPort"), "it is meant for ServiceEntries; write defaultEndpoint")
	}
	protocol, ok = namedProtocol(in.GetProtocol())
	if !ok && in.GetProtocol() != "" || protocol == model.ProtocolUDP {
		c.d.Add(diag.Invalid, at.Field("protocol"), "%q is not one of HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP and TLS", in.GetProtocol())
		return 0, 0, false
	}
	return number, protocol, true
}

// bind reads where an egress listener listens.
func (c *sidecarReader) bind(in *networking.IstioEgressListener, out *model.EgressListener, at diag.Path) bool {
	none := in.GetCaptureMode() == networking.CaptureMode_NONE
	switch bind := in.GetBind(); {
	case bind == "" && none && in.GetPort() == nil:
		c.d.Add(diag.Invalid, at.Field("captureMode"), "NONE needs a port, on which the proxy listens; the listener is captured")
	case bind == "" && none:
		out.Bind, out.Bound = loopback, true
	case bind == "":
	case in.GetPort() == nil:
		c.d.Add(diag.Invalid, at.Field("bind"), "it needs a port; the listener is left out")
		return false
	case strings.HasPrefix(bind, unixPrefix):
		if in.GetCaptureMode() == networking.CaptureMode_IPTABLES {
			c.d.Add(diag.Invalid, at.Field("captureMode"), "connections to a Unix socket cannot be captured; the listener is left out")
			return false
		}
		if c.socket(bind, at.Field("bind")) {
			c.d.Add(diag.LeftOut, at.Field("bind"), "a proxy does not listen on Unix sockets for its app yet; the listener is left out")
		}
		return false
	default:
		out.Bound = none
		out.Bind = c.address(bind, at.Field("bind"))
		return out.Bind != ""
	}
	return true
}

// socket checks the path of a Unix socket, "unix:///path" or "unix://@name".
func (c *sidecarReader) socket(bind string, at diag.Path) bool {
	path := strings.TrimPrefix(bind, unixPrefix)
	// sockaddr_un holds 108 bytes, with the end of the text.
	if len(path) < 2 || len(path) > 107 || path[0] != '/' && path[0] != '@' || !checkText(path, at, c.d) {
		c.d.Add(diag.Invalid, at, "%q is not unix:///PATH or unix://@NAME of at most 107 bytes", bind)
		return false
	}
	return true
}

// address checks an IP address to listen on; "" if it is none.
func (c *sidecarReader) address(bind string, at diag.Path) string {
	addr, err := netip.ParseAddr(bind)
	if err != nil || addr.Zone() != "" || addr.IsMulticast() {
		c.d.Add(diag.Invalid, at, "%q is not an IP address to listen on; the listener is left out", bind)
		return ""
	}
	return addr.String()
}

// host reads NAMESPACE/DNSNAME, where "~" before it takes the hosts away.
func (c *sidecarReader) host(text string, at diag.Path) (out model.ScopeHost, ok bool) {
	ns, name, found := strings.Cut(text, "/")
	if !found {
		c.d.Add(diag.Invalid, at, "%q is not NAMESPACE/DNSNAME; for the Sidecar's own namespace write ./%s", text, text)
		return out, false
	}
	if ns, out.Excluded = strings.CutPrefix(ns, "~"); out.Excluded && ns == "" {
		ns = "*"
	}
	if ns != "*" && ns != "." && !hostname.IsLabel(ns) {
		c.d.Add(diag.Invalid, at, `%q is not a namespace, ".", "*" or "~"`, ns)
		return out, false
	}
	if !checkHost(name, at, c.d) {
		return out, false
	}
	out.Namespace, out.Host = ns, strings.TrimSuffix(strings.ToLower(name), ".")
	if !strings.Contains(out.Host, ".") && out.Host != "*" {
		c.d.Add(diag.Invalid, at, "%q is no fully qualified name; write %s.NAMESPACE.svc.%s", name, name, c.in.settings().ClusterDomain)
		return out, false
	}
	return out, true
}

// ingress reads one ingress listener; before are those that stand before it.
func (c *sidecarReader) ingress(in *networking.IstioIngressListener, before []model.IngressListener, at diag.Path) (out model.IngressListener, ok bool) {
	if in.GetPort() == nil {
		c.d.Add(diag.Invalid, at.Field("port"), "it is needed; the listener is left out")
		return out, false
	}
	if out.Port, out.Protocol, ok = c.port(in.GetPort(), false, at.Field("port")); !ok {
		return out, false
	}
	if slices.ContainsFunc(before, func(o model.IngressListener) bool { return o.Port == out.Port }) {
		c.d.Add(diag.Duplicate, at.Field("port"), "port %d is in an earlier ingress listener, which is in force", out.Port)
		return out, false
	}
	if in.GetTls() != nil {
		if out.TLS, ok = gateway.SidecarTLS(in.GetTls(), at.Field("tls"), c.d); !ok {
			return out, false
		}
		if out.Protocol == model.ProtocolTLS && strings.EqualFold(in.GetPort().GetProtocol(), "HTTPS") {
			out.Protocol = model.ProtocolHTTP // once it is terminated
		}
	}
	out.Pool = c.pool(in.GetConnectionPool(), at.Field("connectionPool"))
	return out, c.ingressBind(in, &out, at) && c.endpoint(in.GetDefaultEndpoint(), &out, at.Field("defaultEndpoint"))
}

// ingressBind reads where an ingress listener listens. A captured one has the
// pod's addresses, so that an address has a meaning without capture only.
func (c *sidecarReader) ingressBind(in *networking.IstioIngressListener, out *model.IngressListener, at diag.Path) bool {
	none := in.GetCaptureMode() == networking.CaptureMode_NONE
	if in.GetBind() == "" {
		if none {
			out.Bind = "0.0.0.0"
		}
		return true
	}
	bind := c.address(in.GetBind(), at.Field("bind"))
	if bind == "" {
		return false
	}
	if none {
		out.Bind = bind
	} else {
		c.d.Add(diag.NoEffect, at.Field("bind"), "connections to every address of the pod are captured; with captureMode NONE the proxy listens on the address itself")
	}
	return true
}

// endpoint reads defaultEndpoint: where the app listens.
func (c *sidecarReader) endpoint(text string, out *model.IngressListener, at diag.Path) bool {
	switch {
	case text == "":
		out.LocalPort = out.Port
		return true
	case strings.HasPrefix(text, unixPrefix):
		out.Local = text
		return c.socket(text, at)
	}
	to, err := netip.ParseAddrPort(text)
	if err != nil || to.Port() == 0 || !to.Addr().IsLoopback() && !to.Addr().IsUnspecified() {
		c.d.Add(diag.Invalid, at, "%q is not 127.0.0.1:PORT, [::1]:PORT, 0.0.0.0:PORT, [::]:PORT or unix:///PATH; the listener is left out", text)
		return false
	}
	if to.Addr().IsLoopback() {
		out.Local = to.Addr().String()
	}
	out.LocalPort = uint32(to.Port())
	return true
}

// checkSidecar reports an older Sidecar for the same workloads: Istio lets the
// older win. Two selectors that meet in some pods only are found by Deployed.
func checkSidecar(s *model.Sidecar, in scope, d *diag.List) {
	others, _ := memo.Get(in.r, &in.c.sidecarsIn.Cell, s.Namespace)
	for _, o := range others.All() {
		switch {
		case o.Rank >= s.Rank || (o.Selector == nil) != (s.Selector == nil) || !maps.Equal(o.Selector, s.Selector):
		case s.Selector == nil:
			d.Add(diag.SidecarTwice, "spec.workloadSelector", "the older Sidecar %s is for the whole namespace too, and wins", o.Key())
		default:
			d.Add(diag.SidecarConflict, "spec.workloadSelector", "the older Sidecar %s selects the same workloads, and wins", o.Key())
		}
	}
}
