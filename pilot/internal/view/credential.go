package view

import (
	"reflect"
	"slices"
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
		if s.TLS == nil {
			return
		}
		for _, name := range s.TLS.Credentials {
			emit(credential(name, namespace), "")
		}
		if s.TLS.CACredential != "" {
			emit(credential(s.TLS.CACredential, namespace), "")
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
			both.Cert, both.Key, both.KeyType, both.Names = own.Cert, own.Key, own.KeyType, own.Names
		}
		return both, true
	}, memo.Same(func(a, b *model.Secret) bool { return reflect.DeepEqual(a, b) }))
}

// serverTLS is a server's TLS with its credentials resolved. Of certificates
// that clash the first is in force: Envoy would refuse both.
func (in *inputs) serverTLS(r *memo.Reader, s *served, namespace string) *model.ServerTLS {
	if len(s.TLS.Credentials) == 0 && s.TLS.CACredential == "" {
		return s.TLS
	}
	next := *s.TLS
	next.Credentials = nil
	if next.CACredential != "" {
		next.CACredential = credential(next.CACredential, namespace)
	} else if next.Mode.ChecksClients() {
		next.CACredential = credential(s.TLS.CACredentialKey(), namespace)
	}
	var first []*model.Secret
	for _, name := range s.TLS.Credentials {
		key := credential(name, namespace)
		if len(s.TLS.Credentials) == 1 {
			next.Credentials = append(next.Credentials, key)
			break
		}
		secret, ok := memo.Get(r, &in.secrets.Cell, key)
		if ok && slices.ContainsFunc(first, secret.Clashes) {
			continue
		}
		if ok {
			first = append(first, secret)
		}
		next.Credentials = append(next.Credentials, key)
	}
	return &next
}
