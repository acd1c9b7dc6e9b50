package config

import (
	"google.golang.org/protobuf/proto"
	meshv1 "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
)

// DecodeJSON reads one object as an API server sends it. It is as strict as
// Decode; objects and findings have neither file nor line.
func DecodeJSON(raw []byte) (*Object, []diag.Diagnostic) {
	objects, found := document{text: raw}.object(raw)
	if len(objects) == 0 {
		return nil, found
	}
	return objects[0], found
}

// WithRootNamespace returns a MeshConfig that names a root namespace: its own,
// else namespace. A nil o stands for one that says nothing.
func WithRootNamespace(o *Object, namespace string) *Object {
	next := &Object{Kind: MeshConfig, Name: "mesh"}
	if o != nil {
		*next = *o
	}
	in, _ := next.Spec.(*meshv1.MeshConfig)
	if in.GetRootNamespace() != "" {
		return o
	}
	out := &meshv1.MeshConfig{}
	proto.Merge(out, in)
	out.RootNamespace = namespace
	next.Spec = out
	return next
}

// WithKind returns a set that has all objects of a kind, by Key, replaced.
func (s Set) WithKind(k Kind, objects memo.Table[*Object]) Set { return s.put(k, objects) }

// Credentials are the Secrets that an object names for TLS, and the labels of
// the pods that use them.
type Credentials struct {
	// Names of Secrets in the namespace of the proxies, sorted as they stand.
	Names []string
	// Selector of the proxies; empty: every gateway.
	Selector map[string]string
	// Own says that only proxies of the object's namespace use them.
	Own bool
}

// CredentialsOf reads the Secrets that a Gateway or a DestinationRule names;
// other kinds name none.
//
// Source: Istio ServerTLSSettings and ClientTLSSettings, credentialName. A CA
// bundle may stand in a Secret of its own, NAME-cacert.
func CredentialsOf(o *Object) Credentials {
	switch spec := o.Spec.(type) {
	case *networking.Gateway:
		return Credentials{Names: ofServers(spec.GetServers()), Selector: spec.GetSelector()}
	case *networking.DestinationRule:
		selector := spec.GetWorkloadSelector().GetMatchLabels()
		return Credentials{Names: ofRule(spec), Selector: selector, Own: len(selector) > 0}
	}
	return Credentials{}
}

const caSuffix = "-cacert"

func ofServers(servers []*networking.Server) (names []string) {
	for _, s := range servers {
		tls := s.GetTls()
		mutual := tls.GetMode() == networking.ServerTLSSettings_MUTUAL || tls.GetMode() == networking.ServerTLSSettings_OPTIONAL_MUTUAL
		for _, name := range append([]string{tls.GetCredentialName()}, tls.GetCredentialNames()...) {
			if name != "" {
				names = append(names, name)
			}
			if name != "" && mutual {
				names = append(names, name+caSuffix)
			}
		}
		if name := tls.GetCaCertCredentialName(); name != "" && mutual {
			names = append(names, name)
		}
	}
	return names
}

func ofRule(spec *networking.DestinationRule) (names []string) {
	add := func(p *networking.TrafficPolicy) {
		all := []*networking.ClientTLSSettings{p.GetTls()}
		for _, port := range p.GetPortLevelSettings() {
			all = append(all, port.GetTls())
		}
		for _, tls := range all {
			if name := tls.GetCredentialName(); name != "" {
				names = append(names, name, name+caSuffix)
			}
		}
	}
	add(spec.GetTrafficPolicy())
	for _, s := range spec.GetSubsets() {
		add(s.GetTrafficPolicy())
	}
	return names
}
