package compile

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// tls reads trafficPolicy.tls. Where a certificate is missing, connections
// fail: without it a server would go unchecked, or get what is not for it.
//
// Source: istio.io/api networking/v1alpha3, message ClientTLSSettings.
func (t traffic) tls(in *networking.ClientTLSSettings, at diag.Path) *model.ClientTLS {
	if in == nil {
		return nil
	}
	out := &model.ClientTLS{
		Cert: in.GetClientCertificate(), Key: in.GetPrivateKey(), CA: in.GetCaCertificates(), CRL: in.GetCaCrl(), Credential: in.GetCredentialName(),
		SNI: in.GetSni(), SANs: in.GetSubjectAltNames(), InsecureSkipVerify: in.GetInsecureSkipVerify().GetValue(),
	}
	switch in.GetMode() {
	case networking.ClientTLSSettings_SIMPLE:
		out.Mode = model.TLSSimple
	case networking.ClientTLSSettings_MUTUAL:
		out.Mode = model.TLSMutual
	case networking.ClientTLSSettings_ISTIO_MUTUAL:
		out.Mode = model.TLSMesh
	}
	if out.Mode == model.TLSMesh && out.SNI != "" && !t.in.opensDoor(t.service) {
		// A sidecar knows mesh mTLS by its SNI (decision 003); a gateway, of which
		// each server has hosts, chooses one by it.
		t.d.Add(diag.NoEffect, at.Field("sni"), "ISTIO_MUTUAL sends the mesh's own SNI, which names the destination, but to Services of gateways")
		out.SNI = ""
	}
	if out.Mode == model.TLSMesh || out.Mode == model.TLSDisable {
		t.noCertificates(in, out, at)
		return out
	}
	t.clientFiles(out, at)
	t.credential(out, at)
	return out
}

// opensDoor reports whether all pods of a service are gateways: some Gateway
// selects by labels that the service selects by.
func (s scope) opensDoor(to *model.Service) bool {
	if to == nil || len(to.Selector) == 0 {
		return false
	}
	for _, gw := range memo.All(s.r, &s.c.gateways.values.Cell).All() {
		if len(gw.Selector) == 0 {
			continue
		}
		all := true
		for key, value := range gw.Selector {
			all = all && to.Selector[key] == value
		}
		if all {
			return true
		}
	}
	return false
}

// noCertificates drops those of a mode that has none of its own.
func (t traffic) noCertificates(in *networking.ClientTLSSettings, out *model.ClientTLS, at diag.Path) {
	if out.Cert != "" || out.Key != "" || out.CA != "" || out.CRL != "" || out.Credential != "" {
		t.d.Add(diag.NoEffect, at, "%s uses no certificates of its own", in.GetMode())
	}
	out.Cert, out.Key, out.CA, out.CRL, out.Credential = "", "", "", "", ""
}

// clientFiles checks the names of files. A name that Envoy cannot take counts
// as none.
func (t traffic) clientFiles(out *model.ClientTLS, at diag.Path) {
	for _, f := range []struct {
		name  *string
		field string
	}{{&out.Cert, "clientCertificate"}, {&out.Key, "privateKey"}, {&out.CA, "caCertificates"}, {&out.CRL, "caCrl"}} {
		if !checkText(*f.name, at.Field(f.field), t.d) {
			*f.name, out.Lacking = "", true
		}
	}
	if out.InsecureSkipVerify && (out.CA != "" || out.CRL != "") {
		t.d.Add(diag.NoEffect, at, "insecureSkipVerify looks at neither caCertificates nor caCrl")
	}
	switch {
	case out.Credential != "":
	case out.Mode == model.TLSMutual && (out.Cert == "" || out.Key == ""):
		t.d.Add(diag.Invalid, at, "MUTUAL needs credentialName, or clientCertificate and privateKey; connections fail until it is there")
		out.Lacking = true
	case out.Mode == model.TLSSimple && (out.Cert != "" || out.Key != ""):
		t.d.Add(diag.NoEffect, at, "SIMPLE shows no certificate; MUTUAL does")
		out.Cert, out.Key = "", ""
	case out.CA == "" && !out.InsecureSkipVerify && len(out.SANs) == 0:
		t.d.Add(diag.Insecure, at, "the server's certificate is checked against the system's roots only")
	}
}

// credential checks credentialName: a Secret in the namespace of the proxy. It
// holds at gateways, and at sidecars that the rule selects.
func (t traffic) credential(out *model.ClientTLS, at diag.Path) {
	if out.Credential == "" {
		return
	}
	if out.CRL != "" {
		t.d.Add(diag.Invalid, at.Field("caCrl"), "it cannot stand beside credentialName: put it into the Secret, as ca.crl")
	}
	at = at.Field("credentialName")
	if strings.ContainsAny(out.Credential, "/: ") {
		t.d.Add(diag.Invalid, at, "%q must be the name of a Secret in the proxy's namespace; connections fail", out.Credential)
		out.Credential, out.Lacking = "", true
		return
	}
	files := out.Cert != "" || out.Key != "" || out.CA != ""
	switch {
	case files && t.selecting:
		t.d.Add(diag.Invalid, at, "it stands beside names of files; only one may be set; the Secret is in force")
	case files:
		t.d.Add(diag.Invalid, at, "it stands beside names of files; only one may be set; gateways use the Secret, sidecars the files")
	case !t.selecting:
		t.d.Add(diag.GatewaysOnly, at, "without a workloadSelector it holds at gateways only; connections of sidecars fail")
	}
	t.findCredential(out, at)
}

// findCredential reports a Secret that no proxy of the rule will find.
func (t traffic) findCredential(out *model.ClientTLS, at diag.Path) {
	if t.selecting {
		pair, bundle := t.in.secret(t.namespace+"/"+out.Credential), t.in.secret(t.namespace+"/"+out.Credential+"-cacert")
		if lack := lacks(out, pair, bundle); lack != "" {
			t.d.Add(diag.NotFound, at, "Secret %q with %s not found; connections fail until it is there", t.namespace+"/"+out.Credential, lack)
		}
		return
	}
	// The gateways may be in any namespace.
	named, _ := memo.Get(t.in.r, &t.in.c.secretNames.Cell, out.Credential)
	for _, s := range named.All() {
		if lacks(out, s, t.in.secret(s.Namespace+"/"+out.Credential+"-cacert")) == "" {
			return
		}
	}
	t.d.Add(diag.NotFound, at, "Secret %q with %s not found in any namespace; connections fail until it is in that of the gateway's pods", out.Credential, lacks(out, nil, nil))
}

// lacks says what of a credential is not there for the mode; "": nothing.
func lacks(out *model.ClientTLS, pair, bundle *model.Secret) string {
	var parts []string
	if out.Mode == model.TLSMutual && (pair == nil || len(pair.Cert) == 0) {
		parts = append(parts, "a usable certificate and key")
	}
	if !out.InsecureSkipVerify && (pair == nil || len(pair.CA) == 0) && (bundle == nil || len(bundle.CA) == 0) {
		parts = append(parts, "ca.crt")
	}
	return strings.Join(parts, " and ")
}
