package compile

import (
	"time"

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
	one, ok := objects.Get("/mesh")
	for _, o := range objects.All() {
		if !ok {
			one, ok = o, true
		}
		d := diag.For(o.Ref())
		if in, is := o.Spec.(*mesh.MeshConfig); !is || o != one {
			d.Add(diag.Duplicate, "", "MeshConfig %q is in force, there can be only one", one.Name)
		} else {
			reportUnsupported(o, d)
			readMeshConfig(in, out, d)
		}
		if len(d.All()) > 0 {
			found = found.With(string(o.Kind)+"/"+o.Key(), &Findings{Object: o.Ref(), List: d.All()})
		}
	}
	return out, found
}

func defaultSettings() *model.Settings {
	return &model.Settings{
		TrustDomain:              meshDomain,
		ClusterDomain:            meshDomain,
		RootNamespace:            rootNamespace,
		ClusterID:                clusterID,
		OutboundAllowAny:         true,
		AutoMTLS:                 true,
		ConnectTimeout:           10 * time.Second,
		ProtocolDetectionTimeout: 5 * time.Second,
		DefaultRetry:             defaultRetry(),
	}
}

func readMeshConfig(in *mesh.MeshConfig, out *model.Settings, d *diag.List) {
	if td := in.GetTrustDomain(); td != "" {
		if _, err := spiffe.New(td, "default", "default"); err != nil {
			d.Add(diag.Invalid, "trustDomain", "%v; %s is in force", err, out.TrustDomain)
		} else {
			out.TrustDomain = td
		}
	}
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
	if file := in.GetAccessLogFile(); checkText(file, "accessLogFile", d) {
		out.AccessLog = file
	}
	if p := in.GetOutboundTrafficPolicy(); p != nil {
		out.OutboundAllowAny = p.GetMode() == mesh.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY
		if p.GetMode() == mesh.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY_DYNAMIC_DNS {
			d.Add(diag.NotSupported, "outboundTrafficPolicy.mode", "ALLOW_ANY_DYNAMIC_DNS is not supported yet; unknown destinations are blocked")
		}
	}
	if v, ok := positive(in.GetConnectTimeout(), "connectTimeout", d); ok {
		out.ConnectTimeout = v
	}
	// 0 s is Istio's way to say that detection never times out.
	if v, ok := notNegative(in.GetProtocolDetectionTimeout(), "protocolDetectionTimeout", d); ok {
		out.ProtocolDetectionTimeout = v
	}
	if t := in.GetDefaultConfig().GetGatewayTopology(); t != nil {
		out.Edge = model.Edge{TrustedProxies: t.GetNumTrustedProxies(), ProxyProtocol: t.GetProxyProtocol() != nil}
	}
	if r := in.GetDefaultHttpRetryPolicy(); r != nil {
		out.DefaultRetry = compileRetry(r, out.DefaultRetry, "defaultHttpRetryPolicy", d)
	}
}
