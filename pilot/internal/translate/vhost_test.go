package translate

import (
	"slices"
	"testing"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// TestDomainsAreChecked: the check of domains by hand says what Validate does.
func TestDomainsAreChecked(t *testing.T) {
	all := []string{"", "*", "a.example.com:80", "a\nb", "\ra", "a\x00", "ä.example", "a\x01\t", "\xff"}
	for i, one := range all {
		for _, domains := range [][]string{nil, {one}, {"x", one, "y"}, all[:i]} {
			vh := &route.VirtualHost{Name: "n", Domains: slices.Clone(domains), Routes: []*route.Route{{Match: matchAny, Action: &route.Route_NonForwardingAction{}}}}
			want, got := vh.Validate(), valid(vh)
			if (want == nil) != (got == nil) || want != nil && want.Error() != got.Error() {
				t.Errorf("%q: %v, Validate says %v", domains, got, want)
			}
			if !slices.Equal(vh.GetDomains(), domains) {
				t.Errorf("%q became %q", domains, vh.GetDomains())
			}
		}
	}
	nameless := &route.VirtualHost{Domains: []string{"a"}}
	if valid(nameless) == nil {
		t.Error("a virtual host without a name is taken")
	}
}
