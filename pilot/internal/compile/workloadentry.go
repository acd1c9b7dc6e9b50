package compile

import (
	"cmp"
	"maps"
	"net/netip"
	posix "path"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	core "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/spiffe"
)

// addressKind is how an endpoint's address is written.
type addressKind int

const (
	byIP addressKind = iota
	byName
	bySocket // unix://
)

const unixScheme = "unix://"

// outsider is a workload that no EndpointSlice tells of: a WorkloadEntry, an
// endpoint of a ServiceEntry, or a pod that a ServiceEntry selects.
type outsider struct {
	key, namespace string
	labels         map[string]string
	kind           addressKind
	// endpoint lacks its port; more are further addresses of a pod.
	endpoint model.Endpoint
	more     []string
	// ports are those of the workload, by name of the service's.
	ports map[string]uint32
}

// outsiderOf is where an endpoint is written down.
type outsiderOf struct {
	namespace, key string
	workload       string // its name in telemetry; "" for endpoints of a ServiceEntry
	account        string // where none is written; "": none
	labels         map[string]string
	in             scope
}

// compileWorkloadEntry reads one WorkloadEntry. Its own labels are those of the
// spec; metadata's go over them (Istio). Nobody is sent to one that is unhealthy.
func compileWorkloadEntry(o *config.Object, in scope, d *diag.List) *outsider {
	we, ok := o.Spec.(*networking.WorkloadEntry)
	if !ok {
		return nil
	}
	of := outsiderOf{namespace: o.Namespace, key: "entry/" + o.Key(), workload: o.Name, labels: o.Labels, in: in}
	if group := o.Annotations[config.GroupOf]; group != "" {
		of.workload, of.account = group, "default"
	}
	out := compileOutsider(we, of, "spec", d)
	if o.Unhealthy {
		return nil
	}
	return out
}

// maxEndpointWeight bounds a weight: those of a cluster's endpoints add up to at
// most 32 bits (envoy.config.endpoint.v3.LocalityLbEndpoints).
const maxEndpointWeight = 1_000_000

// endpointWeight is 1 where none is set.
func endpointWeight(weight uint32, at diag.Path, d *diag.List) uint32 {
	if weight > maxEndpointWeight {
		d.Add(diag.Invalid, at, "must be at most %d, got %d; it counts as that", maxEndpointWeight, weight)
	}
	return min(max(weight, 1), maxEndpointWeight)
}

// compileOutsider reads a WorkloadEntry or an endpoint of a ServiceEntry; nil if
// nobody could reach it.
//
// Source: istio.io/api networking/v1alpha3, message WorkloadEntry. It takes
// mesh mTLS if its label security.istio.io/tlsMode says so, else if it has a
// service account (Istio).
func compileOutsider(we *networking.WorkloadEntry, of outsiderOf, at diag.Path, d *diag.List) *outsider {
	labels := maps.Clone(we.GetLabels())
	if len(of.labels) > 0 {
		labels = map[string]string{}
		maps.Copy(labels, we.GetLabels())
		maps.Copy(labels, of.labels)
	}
	out := &outsider{key: of.key, namespace: of.namespace, labels: labels}
	ep := &out.endpoint
	ep.Labels, ep.Namespace, ep.Workload = labels, of.namespace, of.workload
	ep.Weight = endpointWeight(we.GetWeight(), at.Field("weight"), d)
	ep.Locality = locality(cmp.Or(we.GetLocality(), strings.ReplaceAll(labels["istio-locality"], ".", "/")))
	if !out.readAddress(we, at, d) {
		return nil
	}
	if sa := cmp.Or(we.GetServiceAccount(), of.account); sa != "" {
		id, err := spiffe.New(of.in.settings().TrustDomain, of.namespace, sa)
		if err != nil {
			d.Add(diag.Invalid, at.Field("serviceAccount"), "%v", err)
		} else {
			ep.Identity = id.String()
		}
	}
	ep.MTLS = ep.Identity != ""
	if mode, ok := labels[model.LabelTLSMode]; ok {
		ep.MTLS = mode == "istio"
	}
	if ep.Workload != "" {
		ep.App, ep.Version = firstLabel(labels, appLabels, ep.Workload), firstLabel(labels, versionLabels, "latest")
	}
	for _, name := range slices.Sorted(maps.Keys(we.GetPorts())) {
		if n := we.GetPorts()[name]; checkPort(n, at.Field("ports").Key(name), d) {
			if out.ports == nil {
				out.ports = map[string]uint32{}
			}
			out.ports[name] = n
		}
	}
	if out.kind == bySocket && len(out.ports) > 0 {
		d.Add(diag.Invalid, at.Field("ports"), "a Unix socket has no ports")
		out.ports = nil
	}
	return out
}

func (out *outsider) readAddress(we *networking.WorkloadEntry, at diag.Path, d *diag.List) bool {
	text := we.GetAddress()
	at = at.Field("address")
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		out.endpoint.Address = addr.Unmap().String()
		return true
	}
	if name, ok := strings.CutPrefix(text, unixScheme); ok {
		out.kind, out.endpoint.Address = bySocket, text
		switch {
		case !strings.HasPrefix(name, "/") && !strings.HasPrefix(name, "@") || strings.HasSuffix(name, "/") || len(name) > maxSocketPath:
			d.Add(diag.Invalid, at, "%q is not unix:///PATH or unix://@NAME, of at most %d characters", text, maxSocketPath)
			return false
		case proxysOwnSocket(name):
			d.Add(toItself, at, "%q may be a socket of the proxy's own agent; nobody is sent there", text)
			return false
		}
		return checkText(name, at, d)
	}
	host, ok := lowerHost(text)
	switch {
	case text == "" && we.GetNetwork() != "":
		d.Add(diag.LeftOut, at, "an endpoint without an address is reached by a gateway of its network, which is not built yet")
	case text == "":
		d.Add(diag.Invalid, at, "an address is needed")
	case !ok:
		d.Add(diag.Invalid, at, "%q is neither an IP address nor a DNS name", text)
	default:
		out.kind, out.endpoint.Address = byName, host
		return true
	}
	return false
}

// maxSocketPath is the length of sockaddr_un's path, unix(7).
const maxSocketPath = 107

// locality reads "region/zone/subzone".
func locality(text string) (out model.Locality) {
	parts := strings.SplitN(text, "/", 3)
	for i, to := range []*string{&out.Region, &out.Zone, &out.SubZone} {
		if i < len(parts) {
			*to = parts[i]
		}
	}
	return out
}

// podOutsider is a pod that a ServiceEntry may select; nil while it is not
// ready, or unknown.
func podOutsider(o *config.Object, in scope) *outsider {
	pod, ok := o.Spec.(*core.Pod)
	w := in.workload(o.Key())
	if !ok || w == nil || len(w.Addresses) == 0 || !podReady(pod) {
		return nil
	}
	out := &outsider{key: "pod/" + o.Key(), namespace: o.Namespace, labels: w.Labels, more: w.Addresses[1:], ports: w.Ports}
	out.endpoint = model.Endpoint{Address: w.Addresses[0], Weight: 1, Namespace: o.Namespace}
	describe(&out.endpoint, in, o.Namespace, o.Name)
	return out
}

// podReady reports whether nothing says that a pod is not ready.
func podReady(pod *core.Pod) bool {
	return !slices.ContainsFunc(pod.Status.Conditions, func(c core.PodCondition) bool { return c.Type == core.PodReady && c.Status == core.ConditionFalse })
}

// at are the endpoints for a service's port; name is the workload's port, if it
// has one of that name. A named target port that the workload lacks has none.
//
// Source: WorkloadEntry.ports; Istio takes a pod's port by number alone.
func (w *outsider) at(p model.Port, name string) (out []*model.Endpoint) {
	ep := w.endpoint
	if ep.Port = w.port(p, name); ep.Port == 0 && w.kind != bySocket {
		return nil
	}
	for _, address := range slices.Concat([]string{ep.Address}, w.more) {
		if next := ep; !proxysOwn(address, ep.Port) {
			next.Address = address
			out = append(out, &next)
		}
	}
	return out
}

// port is the workload's own for a service's port; 0: it has none.
func (w *outsider) port(p model.Port, name string) uint32 {
	if w.kind == bySocket {
		return 0
	}
	if n, ok := w.ports[name]; ok && !strings.HasPrefix(w.key, "pod/") || ok && p.TargetName != "" {
		return n
	}
	return p.Target
}

// toItself is an endpoint that is a port or a socket of the very proxy that would
// connect to it.
var toItself = diag.Finding{Code: "WEFT0206", Severity: diag.Error, Cure: "name the port that the app serves; who needs the proxy's pages has weft proxy-config and kubectl port-forward"}

// proxysOwn reports whether an address and port are those of the very proxy that
// would connect to them: Envoy's administration and the agent's pages take what
// comes by loopback for the pod itself, and a gateway serves several tenants.
func proxysOwn(address string, port uint32) bool {
	if port < firstOwnPort || port > lastOwnPort {
		return false
	}
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return address == "localhost" || strings.HasSuffix(address, ".localhost")
	}
	return addr.IsLoopback() || addr.IsUnspecified()
}

// proxysOwnFolders have the agent's sockets, and the way to any folder by another
// name.
var proxysOwnFolders = []string{"/etc/istio/", "/var/run/secrets/", "/run/secrets/", "/proc/"}

func proxysOwnSocket(name string) bool {
	clean := posix.Clean(name)
	return slices.ContainsFunc(proxysOwnFolders, func(folder string) bool { return strings.HasPrefix(clean, folder) })
}

// group is a compiled WorkloadGroup: the template of the WorkloadEntries of
// processes that join.
type group struct {
	key      string
	template *outsider
}

// compileWorkloadGroup reads one WorkloadGroup.
// Source: istio.io/api networking/v1alpha3, message WorkloadGroup.
func compileWorkloadGroup(o *config.Object, in scope, d *diag.List) *group {
	wg, ok := o.Spec.(*networking.WorkloadGroup)
	if !ok {
		return nil
	}
	if wg.GetTemplate() == nil {
		d.Add(diag.Invalid, "spec.template", "a template is needed")
		return nil
	}
	at := diag.Path("spec.template")
	if wg.GetTemplate().GetAddress() != "" {
		d.Add(diag.Invalid, at.Field("address"), "each process brings its own address")
	}
	if len(wg.GetTemplate().GetLabels()) > 0 {
		d.Add(diag.NoEffect, at.Field("labels"), "labels of the group's workloads are in metadata.labels")
	}
	checkProbe(wg.GetProbe(), "spec.probe", d)
	joined := &networking.WorkloadEntry{
		Address: "0.0.0.0", Ports: wg.GetTemplate().GetPorts(), Labels: wg.GetMetadata().GetLabels(), Locality: wg.GetTemplate().GetLocality(),
		Weight: wg.GetTemplate().GetWeight(), ServiceAccount: cmp.Or(wg.GetTemplate().GetServiceAccount(), "default"),
	}
	return &group{key: o.Key(), template: compileOutsider(joined, outsiderOf{namespace: o.Namespace, key: o.Key(), workload: o.Name, in: in}, at, d)}
}

// checkProbe reports numbers that a readiness probe cannot have.
func checkProbe(p *networking.ReadinessProbe, at diag.Path, d *diag.List) {
	for _, n := range []struct {
		name  string
		value int32
	}{
		{"initialDelaySeconds", p.GetInitialDelaySeconds()}, {"timeoutSeconds", p.GetTimeoutSeconds()}, {"periodSeconds", p.GetPeriodSeconds()},
		{"successThreshold", p.GetSuccessThreshold()}, {"failureThreshold", p.GetFailureThreshold()},
	} {
		count(n.value, at.Field(n.name), d)
	}
	switch {
	case p.GetHttpGet() != nil:
		checkPort(p.GetHttpGet().GetPort(), at.Field("httpGet.port"), d)
		if s := p.GetHttpGet().GetScheme(); s != "" && s != "HTTP" && s != "HTTPS" {
			d.Add(diag.Invalid, at.Field("httpGet.scheme"), "%q is neither HTTP nor HTTPS", s)
		}
	case p.GetTcpSocket() != nil:
		checkPort(p.GetTcpSocket().GetPort(), at.Field("tcpSocket.port"), d)
	case p.GetGrpc() != nil:
		checkPort(p.GetGrpc().GetPort(), at.Field("grpc.port"), d)
	case p.GetExec() != nil && len(p.GetExec().GetCommand()) == 0:
		d.Add(diag.Invalid, at.Field("exec.command"), "a command is needed")
	}
}
