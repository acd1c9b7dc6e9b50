package compile

import (
	"regexp"
	"slices"

	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/gateway"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/spiffe"
)

// compileDefaults reads what of MeshConfig holds where no other object says
// anything.
//
// Source: istio.io/api mesh/v1alpha1, message MeshConfig.
func compileDefaults(in *mesh.MeshConfig, d *diag.List) (out model.TrafficDefaults) {
	t := traffic{d: d}
	policy, at := in.GetDefaultTrafficPolicy(), diag.Path("defaultTrafficPolicy")
	out.Traffic.Pool = t.pool(policy.GetConnectionPool(), at.Field("connectionPool"))
	out.Traffic.Outlier = t.outlier(policy.GetOutlierDetection(), at.Field("outlierDetection"))
	if ka := in.GetTcpKeepalive(); ka != nil {
		own := keepalive(ka, "tcpKeepalive", d)
		out.Keepalive = &own
	}
	out.H2Upgrade = in.GetH2UpgradePolicy() == mesh.MeshConfig_UPGRADE
	out.Paths = compilePaths(in.GetPathNormalization().GetNormalization(), d)
	out.MeshTLS = compileTLSBounds(in.GetMeshMTLS(), "meshMTLS", d)
	if len(out.MeshTLS.Curves) > 0 {
		d.Add(diag.NoEffect, "meshMTLS.ecdhCurves", "mesh mTLS has Envoy's curves, as in Istio")
		out.MeshTLS.Curves = nil
	}
	out.TLS = compileTLSBounds(in.GetTlsDefaults(), "tlsDefaults", d)
	out.InboundLocalhost = in.GetInboundTrafficPolicy().GetMode() == mesh.MeshConfig_InboundTrafficPolicy_LOCALHOST
	out.OutboundStat = compileStatName(in.GetOutboundClusterStatName(), "outboundClusterStatName", d)
	out.InboundStat = compileStatName(in.GetInboundClusterStatName(), "inboundClusterStatName", d)
	return out
}

func compilePaths(in mesh.MeshConfig_ProxyPathNormalization_NormalizationType, d *diag.List) model.Paths {
	switch in {
	case mesh.MeshConfig_ProxyPathNormalization_DEFAULT, mesh.MeshConfig_ProxyPathNormalization_BASE:
	case mesh.MeshConfig_ProxyPathNormalization_NONE:
		return model.PathsNone
	case mesh.MeshConfig_ProxyPathNormalization_MERGE_SLASHES:
		return model.PathsMerge
	case mesh.MeshConfig_ProxyPathNormalization_DECODE_AND_MERGE_SLASHES:
		return model.PathsDecode
	default:
		d.Add(diag.Invalid, "pathNormalization.normalization", "%d is none; BASE is in force", in)
	}
	return model.PathsBase
}

// knownCurves are those that Envoy's BoringSSL takes.
var knownCurves = []string{"P-224", "P-256", "P-384", "P-521", "X25519", "X25519MLKEM768"}

// compileTLSBounds reads a TLSConfig. One unknown name would make Envoy refuse
// every listener and cluster.
func compileTLSBounds(in *mesh.MeshConfig_TLSConfig, at diag.Path, d *diag.List) (out model.TLSBounds) {
	switch in.GetMinProtocolVersion() {
	case mesh.MeshConfig_TLSConfig_TLS_AUTO:
	case mesh.MeshConfig_TLSConfig_TLSV1_2:
		out.MinVersion = "1.2"
	case mesh.MeshConfig_TLSConfig_TLSV1_3:
		out.MinVersion = "1.3"
	default:
		d.Add(diag.Invalid, at.Field("minProtocolVersion"), "%d is no version; 1.2 is in force", in.GetMinProtocolVersion())
	}
	out.Ciphers = gateway.Ciphers(in.GetCipherSuites(), at.Field("cipherSuites"), d)
	for i, name := range in.GetEcdhCurves() {
		at := at.Field("ecdhCurves").Index(i)
		switch {
		case !slices.Contains(knownCurves, name):
			d.Add(diag.Invalid, at, "%q is no curve that Envoy knows; it is left out", name)
		case slices.Contains(out.Curves, name):
			d.Add(diag.Duplicate, at, "%q stands twice", name)
		default:
			out.Curves = append(out.Curves, name)
		}
	}
	return out
}

// statVariable is one of a pattern of statistics' names.
var statVariable = regexp.MustCompile(`%[A-Z_]+%`)

// compileStatName reads a pattern; one that would give names which Envoy or
// Prometheus cannot take is left out.
func compileStatName(in string, at diag.Path, d *diag.List) string {
	if in == "" || !checkText(in, at, d) {
		return ""
	}
	known := []string{"%SERVICE%", "%SERVICE_NAME%", "%SERVICE_FQDN%", "%SERVICE_PORT%", "%SERVICE_PORT_NAME%", "%TARGET_PORT%", "%SUBSET_NAME%"}
	for _, v := range statVariable.FindAllString(in, -1) {
		if !slices.Contains(known, v) {
			d.Add(diag.Invalid, at, "%s is none of the variables %v; the clusters' own names are in force", v, known)
			return ""
		}
	}
	return in
}

// compileAliases reads trustDomainAliases.
func compileAliases(in []string, d *diag.List) (out []string) {
	for i, td := range in {
		at := diag.Path("trustDomainAliases").Index(i)
		if _, err := spiffe.New(td, "default", "default"); err != nil {
			d.Add(diag.Invalid, at, "%v; it is left out", err)
		} else if slices.Contains(out, td) {
			d.Add(diag.Duplicate, at, "%q stands twice", td)
		} else {
			out = append(out, td)
		}
	}
	return out
}
