package ca

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/spiffe"
)

// ParseDNSNames reads NAMESPACE/ACCOUNT=NAME items, one for each DNS name that
// an account's certificates hold:
//
//	weft-system/weft-pilot=weft-pilot.weft-system.svc
//
// An item without an account belongs to the account of the item before it, so
// that one comma-separated flag value can list several names. Errors quote the
// item at fault.
func ParseDNSNames(items []string) (map[string][]string, error) {
	out := map[string][]string{}
	account := ""
	for _, item := range items {
		name := item
		if before, after, ok := strings.Cut(item, "="); ok {
			account, name = before, after
		}
		namespace, serviceAccount, ok := strings.Cut(account, "/")
		if !ok {
			return nil, fmt.Errorf("DNS name %q: want NAMESPACE/SERVICE-ACCOUNT=NAME", item)
		}
		if err := (spiffe.ID{TrustDomain: "any", Namespace: namespace, ServiceAccount: serviceAccount}).Validate(); err != nil {
			return nil, fmt.Errorf("DNS name %q: %w", item, err)
		}
		if !isDNSName(name) {
			return nil, fmt.Errorf("DNS name %q: %q is not a lower-case host name", item, name)
		}
		if !slices.Contains(out[account], name) {
			out[account] = append(out[account], name)
		}
	}
	return out, nil
}

// isDNSName accepts host names of RFC 1123 without wildcards: a certificate for
// all of a domain is for nobody in the mesh.
func isDNSName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "-") != label || strings.ContainsFunc(label, notHostRune) {
			return false
		}
	}
	return true
}

func notHostRune(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }

// dnsNames are the names of one account. With Kube the control plane's have that
// of their Service besides: clients that are not ours, such as the API server
// calling a webhook, know no SPIFFE identity and check these. Revisions, whose
// accounts end in -REVISION, need not be announced: who may run pods under such
// an account in the CA's own namespace may run them under the others too.
func (o Options) dnsNames(account string) []string {
	given := o.DNSNames[account]
	if !o.Kube {
		return given
	}
	namespace, name, _ := strings.Cut(account, "/")
	service := name + "." + namespace + ".svc"
	if namespace != o.Namespace || !ofControlPlane(name) || slices.Contains(given, service) {
		return given
	}
	return append(slices.Clone(given), service)
}

// ofControlPlane tells accounts of the control plane, of any revision.
func ofControlPlane(account string) bool {
	for _, of := range []string{"weft-pilot", "weft-injector"} {
		if account == of || strings.HasPrefix(account, of+"-") {
			return true
		}
	}
	return account == ServiceAccount
}
