package compile

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
)

const exportToAnnotation = "networking.istio.io/exportTo"

// Ports of the sidecars' own two listeners. A service's listener on one of
// them would have their address, and Envoy would refuse them.
const captureOutbound, captureInbound = 15001, 15006

// compileService reads one Service: its name in the mesh and its ports.
//
// Source: Kubernetes core/v1 Service; Istio "Protocol Selection".
func compileService(o *config.Object, in scope, d *diag.List) *model.Service {
	svc, ok := o.Spec.(*core.Service)
	if !ok {
		return nil
	}
	out := &model.Service{
		Host:      hostname.Service(o.Name, o.Namespace, in.settings().ClusterDomain),
		Namespace: o.Namespace,
		Name:      o.Name,
		Selector:  svc.Spec.Selector,
		Labels:    o.Labels,
		Ports:     servicePorts(svc.Spec.Ports, d),
	}
	switch {
	case svc.Spec.Type == core.ServiceTypeExternalName:
		externalName(svc, out, d)
	case svc.Spec.ClusterIP == core.ClusterIPNone:
		out.Headless = true
	default:
		out.Addresses = clusterIPs(svc, d)
	}
	out.Balancer = in.balancer(o, d)
	out.HealthCheck, out.MaxAge = healthCheck(o, d), connectionAge(o, d)
	out.Session = session(o, d)
	checkGRPCPorts(out, d)
	out.Locality = trafficDistribution(svc, o.Annotations, d)
	var to []string
	if text := o.Annotations[exportToAnnotation]; text != "" {
		to = strings.Split(text, ",")
	}
	out.ExportTo = exportTo(to, in.settings().ServiceExport, diag.Path("metadata.annotations").Key(exportToAnnotation), d)
	return out
}

func externalName(svc *core.Service, out *model.Service, d *diag.List) {
	name := strings.ToLower(strings.TrimSuffix(svc.Spec.ExternalName, "."))
	if err := hostname.Check(name); err != nil || strings.HasPrefix(name, "*") {
		d.Add(diag.Invalid, "spec.externalName", "%q is not a DNS name", svc.Spec.ExternalName)
		return
	}
	out.Resolve, out.External = model.ResolveDNS, name
}

// clusterIPs gives the virtual addresses, each once, in the Service's order.
func clusterIPs(svc *core.Service, d *diag.List) (out []string) {
	all := svc.Spec.ClusterIPs
	if len(all) == 0 && svc.Spec.ClusterIP != "" {
		all = []string{svc.Spec.ClusterIP}
	}
	for i, ip := range all {
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			d.Add(diag.Invalid, diag.Path("spec.clusterIPs").Index(i), "%q is not an IP address", ip)
			continue
		}
		if addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() {
			d.Add(diag.Invalid, diag.Path("spec.clusterIPs").Index(i), "%q cannot be a service's address", ip)
			continue
		}
		if text := addr.String(); !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

func servicePorts(in []core.ServicePort, d *diag.List) (out []model.Port) {
	for i := range in {
		at, p := diag.Path("spec.ports").Index(i), &in[i]
		if p.Port < 1 || p.Port > 65535 {
			d.Add(diag.Invalid, at.Field("port"), "%d is not a port", p.Port)
			continue
		}
		if p.Port == captureOutbound || p.Port == captureInbound {
			d.Add(diag.Invalid, at.Field("port"), "%d is where sidecars take captured connections; connections to it pass them unseen", p.Port)
			continue
		}
		if t := p.TargetPort.IntVal; p.TargetPort.StrVal == "" && (t < 0 || t > 65535) {
			d.Add(diag.Invalid, at.Field("targetPort"), "%d is not a port", t)
			continue
		}
		port := model.Port{Name: p.Name, Number: uint32(p.Port), Protocol: portProtocol(p), Target: uint32(p.Port)}
		switch {
		case p.TargetPort.StrVal != "":
			port.Target, port.TargetName = 0, p.TargetPort.StrVal
		case p.TargetPort.IntVal != 0:
			port.Target = uint32(p.TargetPort.IntVal)
		}
		// UDP and TCP may share a number (DNS); only TCP is carried.
		if at := slices.IndexFunc(out, func(q model.Port) bool { return q.Number == port.Number }); at >= 0 {
			if out[at].Protocol == model.ProtocolUDP {
				out[at] = port
			}
			continue
		}
		if port.Protocol == model.ProtocolAuto {
			d.Add(diag.PortUnnamed, at.Field("name"), "port %d tells no protocol; it is found out per connection", p.Port)
		}
		out = append(out, port)
	}
	slices.SortFunc(out, func(a, b model.Port) int { return cmp.Compare(a.Number, b.Number) })
	return out
}

// portProtocol follows Istio: appProtocol, else the port name up to its first
// "-"; ports of well-known server-first protocols are TCP; else it is detected.
func portProtocol(p *core.ServicePort) model.Protocol {
	if p.Protocol == core.ProtocolUDP {
		return model.ProtocolUDP
	}
	name := p.Name
	if p.AppProtocol != nil {
		name = *p.AppProtocol
	}
	if protocol, ok := namedProtocol(name); ok {
		return protocol
	}
	if serverFirst(uint32(p.Port)) {
		return model.ProtocolTCP
	}
	return model.ProtocolAuto
}

// serverFirst reports whether a port is that of a protocol whose server speaks
// first, so that there is nothing to detect. Istio has SMTP, DNS, MySQL and
// MongoDB (25, 53, 3306, 27017); the others are IANA's for FTP, SSH, POP3, NNTP,
// IMAP, mail submission, NATS, VNC and MySQL's X protocol.
func serverFirst(port uint32) bool {
	return slices.Contains([]uint32{21, 22, 25, 53, 110, 119, 143, 587, 3306, 4222, 5900, 27017, 33060}, port)
}

// namedProtocol reads an appProtocol or a port name.
func namedProtocol(name string) (model.Protocol, bool) {
	name = strings.ToLower(name)
	if name == "grpc-web" || strings.HasPrefix(name, "grpc-web-") {
		return model.ProtocolGRPCWeb, true
	}
	word, _, _ := strings.Cut(name, "-")
	switch word {
	case "http", "http_proxy", "kubernetes.io/ws":
		return model.ProtocolHTTP, true
	case "http2", "h2c", "kubernetes.io/h2c":
		return model.ProtocolHTTP2, true
	case "grpc":
		return model.ProtocolGRPC, true
	case "https", "tls", "kubernetes.io/wss":
		return model.ProtocolTLS, true
	case "tcp", "mongo", "mysql", "redis":
		return model.ProtocolTCP, true
	case "udp":
		return model.ProtocolUDP, true
	}
	return model.ProtocolAuto, false
}

// exportTo reads an exportTo list; an empty one is as MeshConfig says.
// Source: istio.io/api mesh/v1alpha1, MeshConfig.defaultServiceExportTo.
func exportTo(in []string, byDefault model.Visibility, at diag.Path, d *diag.List) model.Visibility {
	if len(in) == 0 {
		return byDefault
	}
	return compileExportTo(in, at, d)
}

// compileExportTo reads an exportTo list; an empty one is "to all". An entry
// that is no namespace exports to nobody.
func compileExportTo(in []string, at diag.Path, d *diag.List) (out model.Visibility) {
	for _, ns := range in {
		switch ns = strings.TrimSpace(ns); {
		case ns == "" && len(in) == 1:
			return model.Visibility{}
		case ns == "*":
			return model.Visibility{}
		case ns == "~":
			out.None, out.Restricted = true, true
		case ns == ".":
			out.Private, out.Restricted = true, true
		case hostname.IsLabel(ns):
			out.Restricted = true
			out.Namespaces = append(out.Namespaces, ns)
		default:
			out.Restricted = true
			d.Add(diag.Invalid, at, `exportTo: %q is not a namespace, ".", "*" or "~"`, ns)
		}
	}
	slices.Sort(out.Namespaces)
	out.Namespaces = slices.Compact(out.Namespaces)
	return out
}

// Datagrams are the ports of a service that UDP has beside one of TCP with the
// number: the model has the latter alone.
func Datagrams(set config.Set, s *model.Service) (out []model.Port) {
	o, ok := set.Of(config.Service).Get(s.Namespace + "/" + s.Name)
	if !ok {
		return nil
	}
	spec, ok := o.Spec.(*core.Service)
	if !ok {
		return nil
	}
	for i := range spec.Spec.Ports {
		p := &spec.Spec.Ports[i]
		known, ok := s.Port(uint32(p.Port))
		if !ok || p.Protocol != core.ProtocolUDP || known.Protocol == model.ProtocolUDP {
			continue
		}
		port := model.Port{Name: p.Name, Number: uint32(p.Port), Protocol: model.ProtocolUDP, Target: uint32(p.Port), TargetName: p.TargetPort.StrVal}
		if n := p.TargetPort.IntVal; n > 0 {
			port.Target = uint32(n)
		}
		out = append(out, port)
	}
	return out
}

// WhyProtocol says for a person what a port's protocol is, and what says so.
func WhyProtocol(set config.Set, s *model.Service, port model.Port) (protocol, why string) {
	protocol = port.Protocol.String()
	o, ok := set.Of(config.Service).Get(s.Namespace + "/" + s.Name)
	if !ok {
		return protocol, "declared by a ServiceEntry"
	}
	spec, ok := o.Spec.(*core.Service)
	if !ok {
		return protocol, ""
	}
	for i := range spec.Spec.Ports {
		p := &spec.Spec.Ports[i]
		if uint32(p.Port) != port.Number || p.Name != port.Name { // UDP and TCP may share a number
			continue
		}
		switch _, named := namedProtocol(p.Name); {
		case p.Protocol == core.ProtocolUDP:
			return protocol, "protocol: UDP; it is not captured"
		case p.AppProtocol != nil:
			if _, known := namedProtocol(*p.AppProtocol); known {
				return protocol, "appProtocol: " + *p.AppProtocol
			}
			return protocol, "appProtocol " + *p.AppProtocol + " is none that is known"
		case named:
			return protocol, "the port's name: " + p.Name
		case port.Protocol == model.ProtocolTCP:
			return protocol, "a well-known port whose server may speak first"
		}
	}
	return protocol, "neither its name nor appProtocol says it: found out per connection"
}
