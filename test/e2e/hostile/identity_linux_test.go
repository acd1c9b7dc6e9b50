package hostile

import (
	"slices"
	"strings"
)

// answer is what the CA said to the stranger.
type answer struct {
	Code, Message string
	URIs          []string
}

// foreignIdentity: a pod gets a certificate of its own name, and of no other.
func (b *bench) foreignIdentity() {
	const own = "spiffe://cluster.local/ns/outside/sa/default"
	for _, args := range [][]string{{}, {"--name", own}} {
		var got answer
		b.asStranger(&got, append([]string{"csr"}, args...)...)
		if got.Code != "OK" || !slices.Equal(got.URIs, []string{own}) {
			b.Errorf("csr %v: %+v", args, got)
		}
	}
	for name, c := range map[string]struct {
		args []string
		code string
	}{
		"another service account": {[]string{"--name", "spiffe://cluster.local/ns/outside/sa/admin"}, "PermissionDenied"},
		"another namespace":       {[]string{"--name", "spiffe://cluster.local/ns/shop/sa/reviews"}, "PermissionDenied"},
		"the pilot":               {[]string{"--name", "spiffe://cluster.local/ns/weft-system/sa/weft-pilot"}, "PermissionDenied"},
		"another trust domain":    {[]string{"--name", "spiffe://example.org/ns/outside/sa/default"}, "PermissionDenied"},
		"a token for another":     {[]string{"--token", "/var/run/secrets/tokens/foreign-token"}, "Unauthenticated"},
		"the API server's token":  {[]string{"--token", "/var/run/secrets/kubernetes.io/serviceaccount/token"}, "Unauthenticated"},
		"no token":                {[]string{"--token", ""}, "Unauthenticated"},
	} {
		var got answer
		b.asStranger(&got, append([]string{"csr"}, c.args...)...)
		if got.Code != c.code || got.Message == "" || len(got.URIs) > 0 {
			b.Errorf("%s: %+v", name, got)
		}
		if strings.Contains(got.Message, "eyJ") {
			b.Errorf("%s: the answer holds a token: %s", name, got.Message)
		}
	}
}
