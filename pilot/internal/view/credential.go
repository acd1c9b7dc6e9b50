package view

import (
	"reflect"
	"strings"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// credential is the key of a credential: a Secret in the namespace of the
// proxy, wherever the object that names it is (Istio, credentialName).
func credential(name, namespace string) string {
	if i := strings.LastIndex(name, "/"); i >= 0 {
		name = name[i+1:]
	}
	return namespace + "/" + name
}

// serverCredentials derives the credentials that servers name.
func serverCredentials(g *memo.Graph, namespace string, servers *memo.Cell[*served]) *memo.Cell[string] {
	d := memo.Flat(g, servers, func(_ *memo.Reader, _ string, s *served, emit memo.Emit[string]) {
		if s.TLS != nil && s.TLS.Credential != "" {
			emit(credential(s.TLS.Credential, namespace), "")
		}
	})
	return &d.Cell
}

// clusterCredentials derives those that clusters name for their own TLS.
func clusterCredentials(g *memo.Graph, clusters *memo.Cell[*model.Cluster]) *memo.Cell[string] {
	d := memo.Flat(g, clusters, func(_ *memo.Reader, _ string, c *model.Cluster, emit memo.Emit[string]) {
		if t := c.Traffic.TLS; t != nil && t.Credential != "" {
			emit(t.Credential, "")
		}
	})
	return &d.Cell
}

// secretsNamed derives those Secrets that are named. A CA bundle may be in a
// Secret of its own beside it, NAME-cacert, which goes first (Istio,
// credentialName).
func secretsNamed(in *inputs, names *memo.Cell[string]) *memo.Derived[string, *model.Secret] {
	return memo.Map(in.graph, names, func(r *memo.Reader, key, _ string) (*model.Secret, bool) {
		own, found := memo.Get(r, &in.secrets.Cell, key)
		bundle, ok := memo.Get(r, &in.secrets.Cell, key+"-cacert")
		if !ok || len(bundle.CA) == 0 {
			return own, found
		}
		namespace, name, _ := strings.Cut(key, "/")
		both := &model.Secret{Namespace: namespace, Name: name, CA: bundle.CA, CRL: bundle.CRL}
		if found {
			both.Cert, both.Key = own.Cert, own.Key
		}
		return both, true
	}, memo.Same(func(a, b *model.Secret) bool { return reflect.DeepEqual(a, b) }))
}
