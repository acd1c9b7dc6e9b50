package compile

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/spiffe"
)

// Defaults that MeshConfig does not change, or where it is silent.
const (
	settingsKey   = "mesh"
	meshDomain    = "cluster.local"
	rootNamespace = "weft-system"
	clusterID     = "Kubernetes"
)

// compileSettings reads MeshConfig; none gives the defaults. There is one for
// the mesh, "/mesh": without it the first by key counts, and others are
// reported. A value that cannot be used leaves the default in force.
//
// Source: istio.io/api mesh/v1alpha1, message MeshConfig.
func compileSettings(objects memo.Table[*config.Object]) (out *model.Settings, found memo.Table[*Findings]) {
	out = defaultSettings()
	one, _ := meshConfig(objects)
	for _, o := range objects.All() {
		d := diag.For(o.Ref())
		if in, is := o.Spec.(*mesh.MeshConfig); !is || o != one {
			d.Add(diag.Duplicate, "", "MeshConfig %q is in force, there can be only one", one.Name)
		} else {
			reportUnsupported(o, d)
			readMeshConfig(in, out, d)
			out.Balancer = ownBalancer(o, d)
			out.HostOwnership = ownership(o, d)
			out.DeniedBy = deniedBy(o, d)
			out.Edge.Underscores = underscores(o, d)
		}
		if len(d.All()) > 0 {
			found = found.With(string(o.Kind)+"/"+o.Key(), &Findings{Object: o.Ref(), List: d.All()})
		}
	}
	return out, found
}

// meshConfig is the one that is in force.
func meshConfig(objects memo.Table[*config.Object]) (*config.Object, bool) {
	one, ok := objects.Get("/mesh")
	if !ok {
		for _, o := range objects.All() {
			return o, true
		}
	}
	return one, ok
}

func defaultSettings() *model.Settings {
	return &model.Settings{
		TrustDomain:      meshDomain,
		ClusterDomain:    meshDomain,
		RootNamespace:    rootNamespace,
		ClusterID:        clusterID,
		OutboundAllowAny: true,
		AutoMTLS:         true,
		ConnectTimeout:   10 * time.Second,
		DefaultRetry:     defaultRetry(),
		Telemetry:        compileTelemetryDefaults(nil, nil),
	}
}

// http10Metadata is how Istio's users let proxies take HTTP/1.0 ("1").
const http10Metadata = "ISTIO_META_HTTP10"

func readMeshConfig(in *mesh.MeshConfig, out *model.Settings, d *diag.List) {
	if td := in.GetTrustDomain(); td != "" {
		if _, err := spiffe.New(td, "default", "default"); err != nil {
			d.Add(diag.Invalid, "trustDomain", "%v; %s is in force", err, out.TrustDomain)
		} else {
			out.TrustDomain = td
		}
	}
	checkDiscovery(in.GetDiscoverySelectors(), d)
	readEntryRules(in.GetServiceEntryVisibility(), d)
	out.TrustAliases = compileAliases(in.GetTrustDomainAliases(), d)
	out.Defaults = compileDefaults(in, d)
	if ns := in.GetRootNamespace(); ns != "" {
		if hostname.IsLabel(ns) {
			out.RootNamespace = ns
		} else {
			d.Add(diag.Invalid, "rootNamespace", "%q is not a namespace; %s is in force", ns, out.RootNamespace)
		}
	}
	if in.GetEnableAutoMtls() != nil {
		out.AutoMTLS = in.GetEnableAutoMtls().GetValue()
	}
	out.Telemetry = compileTelemetryDefaults(in, d)
	checkLogsOfBootstrap(in, d)
	compileTraces(in, out, d)
	compileOutbound(in.GetOutboundTrafficPolicy(), out, d)
	out.HTTPProxyPort = compileHTTPProxy(in.GetProxyHttpPort(), d)
	if v, ok := positive(in.GetConnectTimeout(), "connectTimeout", d); ok {
		out.ConnectTimeout = v
	}
	out.DNSRefresh = compileDNSRefresh(in.GetDnsRefreshRate(), d)
	// 0 s is Istio's way to say that detection never times out.
	if v, ok := notNegative(in.GetProtocolDetectionTimeout(), "protocolDetectionTimeout", d); ok {
		out.ProtocolDetectionTimeout = &v
	}
	out.ServiceExport = compileExportTo(in.GetDefaultServiceExportTo(), "defaultServiceExportTo", d)
	out.VirtualServiceExport = compileExportTo(in.GetDefaultVirtualServiceExportTo(), "defaultVirtualServiceExportTo", d)
	out.DestinationRuleExport = compileExportTo(in.GetDefaultDestinationRuleExportTo(), "defaultDestinationRuleExportTo", d)
	out.ProxySettings = compileProxySettings(model.ProxySettings{}, in.GetDefaultConfig(), "defaultConfig", d)
	_, wrong := config.AgentProxy(in.GetDefaultConfig())
	for _, w := range wrong {
		d.Add(diag.Invalid, diag.Path("defaultConfig").Field(w.Field), "%v; proxies start without it, and a pod with it is refused", w.Err)
	}
	out.HTTP10 = in.GetDefaultConfig().GetProxyMetadata()[http10Metadata] == "1"
	out.Locality = localityOf(in.GetZoneAwareLbSetting(), in.GetLocalityLbSetting(), "", d)
	out.Authorizers = compileAuthorizers(in.GetExtensionProviders(), d)
	if r := in.GetDefaultHttpRetryPolicy(); r != nil {
		out.DefaultRetry = compileRetry(r, out.DefaultRetry, "defaultHttpRetryPolicy", d)
	}
}

// compileDNSRefresh reads dnsRefreshRate; 0: the default. Envoy takes no
// millisecond or less.
func compileDNSRefresh(in *durationpb.Duration, d *diag.List) time.Duration {
	v, ok := positive(in, "dnsRefreshRate", d)
	if ok && v == time.Millisecond {
		d.Add(diag.Invalid, "dnsRefreshRate", "must be more than 1ms, got %v", v)
		return 0
	}
	return v
}
