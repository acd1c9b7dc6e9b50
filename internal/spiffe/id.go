// Package spiffe holds the one workload identity of the mesh: a trust domain, a
// Kubernetes namespace and a service account, written as the URI
// spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT.
//
// Inputs: URI texts, X.509 certificates and extensions. Outputs: ID values and
// the subject alternative names that a certificate or request really holds,
// read from its bytes. It imports the standard library only, so that every
// other package may use it.
package spiffe

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Lengths in bytes. maxURI and maxTrustDomain: SPIFFE-ID standard, 2.3.
// maxLabel and maxName: RFC 1123, as Kubernetes applies it to namespaces
// (label) and service accounts (subdomain).
const (
	maxURI         = 2048
	maxTrustDomain = 255
	maxLabel       = 63
	maxName        = 253
)

// ID is a workload's identity. The zero value is no identity: IsZero reports
// it and Validate refuses it. IDs compare with ==, for every valid identity
// has exactly one form.
//
// Source: SPIFFE-ID standard; path layout of Istio (ns, sa).
type ID struct {
	TrustDomain    string // lower case, such as "cluster.local"
	Namespace      string // DNS-1123 label
	ServiceAccount string // DNS-1123 subdomain
}

// New returns the identity of a service account, or an error that names the
// part that is not valid.
func New(trustDomain, namespace, serviceAccount string) (ID, error) {
	id := ID{TrustDomain: trustDomain, Namespace: namespace, ServiceAccount: serviceAccount}
	if err := id.Validate(); err != nil {
		return ID{}, err
	}
	return id, nil
}

// Parse reads exactly the form that String writes: no upper case, no user,
// port, query, fragment, percent-encoding or further path segment.
func Parse(uri string) (ID, error) {
	if len(uri) > maxURI {
		return ID{}, fmt.Errorf("spiffe: URI of %d bytes is longer than %d", len(uri), maxURI)
	}
	rest, ok := strings.CutPrefix(uri, "spiffe://")
	if !ok {
		return ID{}, fmt.Errorf("spiffe: %q does not start with spiffe://", uri)
	}
	part := strings.Split(rest, "/")
	if len(part) != 5 || part[1] != "ns" || part[3] != "sa" {
		return ID{}, fmt.Errorf("spiffe: %q is not spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT", uri)
	}
	id, err := New(part[0], part[2], part[4])
	if err != nil {
		return ID{}, fmt.Errorf("%w in %q", err, uri)
	}
	return id, nil
}

// String is the SPIFFE URI; "" for the zero ID.
func (id ID) String() string {
	if id.IsZero() {
		return ""
	}
	return "spiffe://" + id.TrustDomain + "/ns/" + id.Namespace + "/sa/" + id.ServiceAccount
}

// URL is the URI for an x509 template.
func (id ID) URL() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: id.TrustDomain, Path: "/ns/" + id.Namespace + "/sa/" + id.ServiceAccount}
}

// Account is "NAMESPACE/SERVICE-ACCOUNT", the key by which configuration
// names an account of the mesh's own trust domain.
func (id ID) Account() string { return id.Namespace + "/" + id.ServiceAccount }

// IsZero reports whether id is no identity at all.
func (id ID) IsZero() bool { return id == ID{} }

// Validate reports the first part of id that is not valid.
func (id ID) Validate() error {
	if err := checkTrustDomain(id.TrustDomain); err != nil {
		return err
	}
	if strings.Contains(id.Namespace, ".") || len(id.Namespace) > maxLabel || !isSubdomain(id.Namespace) {
		return fmt.Errorf("spiffe: namespace %q is not a DNS-1123 label", id.Namespace)
	}
	if !isSubdomain(id.ServiceAccount) {
		return fmt.Errorf("spiffe: service account %q is not a DNS-1123 subdomain", id.ServiceAccount)
	}
	return nil
}

func checkTrustDomain(td string) error {
	if td == "" {
		return errors.New("spiffe: the trust domain is empty")
	}
	if len(td) > maxTrustDomain {
		return fmt.Errorf("spiffe: trust domain of %d bytes is longer than %d", len(td), maxTrustDomain)
	}
	for i := range len(td) {
		if c := td[i]; !isLowerAlnum(c) && c != '.' && c != '-' && c != '_' {
			return fmt.Errorf("spiffe: trust domain %q may hold only a-z, 0-9, '.', '-' and '_'", td)
		}
	}
	return nil
}

// isSubdomain reports whether s is labels of a-z, 0-9 and inner '-', joined by
// dots. A label of a subdomain has no length limit of its own in Kubernetes.
func isSubdomain(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !isLowerAlnum(c) && c != '-' {
				return false
			}
		}
	}
	return true
}

func isLowerAlnum(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
