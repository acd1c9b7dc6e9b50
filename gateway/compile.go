// Package gateway knows the mesh's edge: what Gateway objects mean.
//
// In: a Gateway object; for its check, the credentials that there are. Out: model.Gateway and
// findings. It is pure. Imports: istio.io/api, config, diag, hostname and
// model; no Envoy types.
package gateway

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
)

// Compile reads one Gateway. A server that cannot be honoured is reported to d
// and left out; the others are in force. The result is nil if o is no Gateway.
// Whether credentials are there is CheckCredentials' to say: that depends on
// where the Gateway's proxies are.
//
// Source: istio.io/api networking/v1alpha3, message Gateway.
func Compile(o *config.Object, d *diag.List) *model.Gateway {
	in, ok := o.Spec.(*networking.Gateway)
	if !ok {
		return nil
	}
	out := &model.Gateway{
		Namespace: o.Namespace, Name: o.Name, Rank: rank(o), Selector: in.GetSelector(),
		Origin: model.Origin("/apis/networking.istio.io/v1/namespaces/" + o.Namespace + "/gateway/" + o.Name),
	}
	c := &compiler{gateway: out, d: d, named: map[string]bool{}}
	for i, s := range in.GetServers() {
		if server, ok := c.server(s, diag.Path("spec.servers").Index(i)); ok {
			server.Index = i
			out.Servers = append(out.Servers, server)
		}
	}
	if len(in.GetServers()) == 0 {
		d.Add(diag.Invalid, "spec.servers", "there is no server, so the Gateway takes no request")
	}
	return out
}

// rank orders Gateways: the older first, then by key.
func rank(o *config.Object) string {
	return o.Created.UTC().Format("2006-01-02T15:04:05.000000000") + "/" + o.Key()
}

// compiler is what the functions that read one Gateway share.
type compiler struct {
	gateway *model.Gateway
	d       *diag.List
	named   map[string]bool // port names so far
}

func (c *compiler) server(in *networking.Server, at diag.Path) (out model.Server, ok bool) {
	port := in.GetPort()
	out = model.Server{Name: in.GetName(), Port: port.GetNumber()}
	if out.Bind, ok = c.bind(in.GetBind(), at.Field("bind")); !ok {
		return out, false
	}
	if out.Port == 0 || out.Port > 65535 {
		c.d.Add(diag.Invalid, at.Field("port.number"), "%d is not a port (1..65535)", out.Port)
		return out, false
	}
	if slices.Contains(ownPorts, out.Port) {
		c.d.Add(diag.Invalid, at.Field("port.number"), "port %d is the gateway's own (administration, metrics, health), and nobody would reach the server there; it is left out", out.Port)
		return out, false
	}
	if out.Protocol, out.HTTPS, ok = protocol(port.GetProtocol()); !ok {
		c.d.Add(diag.Invalid, at.Field("port.protocol"), "%q is none of HTTP, HTTPS, GRPC, HTTP2, TLS and TCP", port.GetProtocol())
		return out, false
	}
	if out.Hosts = c.hosts(in.GetHosts(), at.Field("hosts")); len(out.Hosts) == 0 {
		c.d.Add(diag.Invalid, at.Field("hosts"), "no host is left, so the server takes no request")
		return out, false
	}
	if out.TLS, ok = c.tls(in, &out, at.Field("tls")); !ok {
		return out, false
	}
	if c.named[port.GetName()] && out.Protocol == model.ProtocolTLS {
		c.d.Add(diag.Duplicate, at.Field("port.name"), "port name %q stands twice, so the servers share one route table", port.GetName())
	}
	c.named[port.GetName()] = true
	out.RouteTable = routeTable(c.gateway, &out, port.GetName())
	return out, c.fits(&out, at)
}

// ownPorts are those on which a gateway's Envoy and agent listen themselves,
// docs/ports.md.
var ownPorts = []uint32{15000, 15020, 15021, 15090}

// bind reads the address that a server listens on; "" is all addresses, and so
// is an unspecified one.
func (c *compiler) bind(in string, at diag.Path) (string, bool) {
	if in == "" {
		return "", true
	}
	addr, err := netip.ParseAddr(in)
	if err != nil || addr.Zone() != "" || addr.IsMulticast() {
		c.d.Add(diag.Invalid, at, "%q is not an IP address to listen on; the server is left out", in)
		return "", false
	}
	if addr.IsUnspecified() {
		return "", true
	}
	return addr.String(), true
}

// routeTable names the table as Istio does; TCP and pass-through have none.
func routeTable(g *model.Gateway, s *model.Server, portName string) string {
	number := strconv.FormatUint(uint64(s.Port), 10)
	switch {
	case s.Protocol.IsHTTP() && s.Bind == "":
		return "http." + number
	case s.Protocol.IsHTTP():
		return "http." + number + "." + s.Bind
	case s.HTTPS && s.TLS != nil && s.TLS.Mode != model.ServerPassthrough && s.TLS.Mode != model.ServerAutoPassthrough:
		return "https." + number + "." + portName + "." + g.Name + "." + g.Namespace
	}
	return ""
}

// protocol reads port.protocol; https: TLS that carries HTTP.
func protocol(name string) (p model.Protocol, https, ok bool) {
	switch strings.ToUpper(name) {
	case "HTTP":
		return model.ProtocolHTTP, false, true
	case "HTTP2":
		return model.ProtocolHTTP2, false, true
	case "GRPC":
		return model.ProtocolGRPC, false, true
	case "GRPC-WEB":
		return model.ProtocolGRPCWeb, false, true
	case "HTTPS":
		return model.ProtocolTLS, true, true
	case "TLS":
		return model.ProtocolTLS, false, true
	case "TCP", "MONGO", "MYSQL", "REDIS":
		return model.ProtocolTCP, false, true
	}
	return 0, false, false
}

// hosts reads HOST, NAMESPACE/HOST, ./HOST and */HOST.
func (c *compiler) hosts(in []string, at diag.Path) (out []model.ServerHost) {
	for i, text := range in {
		at := at.Index(i)
		ns, host, ok := strings.Cut(text, "/")
		if !ok {
			ns, host = "*", text
		}
		if ns == "." {
			ns = c.gateway.Namespace
		}
		if ns != "*" && !hostname.IsLabel(ns) {
			c.d.Add(diag.Invalid, at, "%q is not a namespace, \".\" or \"*\"", ns)
			continue
		}
		if err := hostname.Check(host); err != nil {
			c.d.Add(diag.Invalid, at, "host %q is not valid: %v", host, err)
			continue
		}
		h := model.ServerHost{Namespace: ns, Host: strings.ToLower(strings.TrimSuffix(host, "."))}
		if slices.Contains(out, h) {
			c.d.Add(diag.Duplicate, at, "host %q stands twice", text)
			continue
		}
		out = append(out, h)
	}
	return out
}

// fits reports whether the server can stand beside those before it.
func (c *compiler) fits(s *model.Server, at diag.Path) bool {
	for i := range c.gateway.Servers {
		o := &c.gateway.Servers[i]
		if o.Port != s.Port || o.Bind != s.Bind {
			continue
		}
		if kindOf(o) != kindOf(s) {
			c.d.Add(diag.GatewayConflict, at.Field("port"), "port %d is %s in an earlier server and %s here; this server is left out", s.Port, kindOf(o), kindOf(s))
			return false
		}
		if host := shared(o, s); kindOf(s) == "TLS" && host != "" {
			c.d.Add(diag.GatewayConflict, at.Field("hosts"), "TLS host %q on port %d is in an earlier server, which wins", host, s.Port)
		}
	}
	return true
}

// shared gives the first host that both servers take; "" if there is none.
func shared(a, b *model.Server) string {
	for _, h := range b.Hosts {
		if slices.ContainsFunc(a.Hosts, func(o model.ServerHost) bool { return o.Host == h.Host }) {
			return h.Host
		}
	}
	return ""
}

// kindOf a server: only servers of one kind can share a port.
func kindOf(s *model.Server) string {
	switch {
	case s.Protocol.IsHTTP():
		return "HTTP"
	case s.Protocol == model.ProtocolTLS:
		return "TLS"
	}
	return "TCP"
}
