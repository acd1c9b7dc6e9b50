package capture_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/capture"
)

// testVerify: it sees what is redirected, and fails for what is not.
func testVerify(t *testing.T) {
	proxy := capture.Proxy{Mark: capture.ProxyMark}
	all := capture.Options{Proxy: proxy}
	elsewhere := capture.Options{Proxy: proxy, IncludeOutboundCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")}, ExcludeOutboundPorts: []uint16{9}}
	nothing := capture.Options{Proxy: proxy, IncludeOutboundCIDRs: []netip.Prefix{}}
	for _, c := range []struct {
		applied, verified capture.Options
		want              []string
	}{
		{all, all, []string{"IPv4", "IPv6"}},
		{elsewhere, elsewhere, []string{"IPv4"}},
		{nothing, nothing, nil},
	} {
		apply(t, c.applied)
		seen, err := capture.Verify(t.Context(), c.verified)
		if err != nil || !slices.Equal(seen, c.want) {
			t.Errorf("%+v: %v, %v; want %v", c.verified, seen, err, c.want)
		}
	}
	apply(t, nothing)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := capture.Verify(ctx, all); err == nil || !strings.Contains(err.Error(), "did not come to the proxy's port") {
		t.Errorf("nothing is redirected: %v", err)
	}
}
