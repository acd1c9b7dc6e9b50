package network

import (
	"net/netip"
	"testing"
)

func TestPool(t *testing.T) {
	var p Pool
	first, err := p.Take(true)
	if err != nil || len(first) != 2 || first[0].String() != "10.244.0.2" || first[1].String() != "fd00:10:244::2" {
		t.Fatalf("first: %v, %v", first, err)
	}
	seen := map[netip.Addr]bool{first[0]: true}
	for {
		next, err := p.Take(false)
		if err != nil {
			break
		}
		if len(next) != 1 || seen[next[0]] || !PodV4.Contains(next[0]) {
			t.Fatalf("address %v was given before, or is outside of %v", next, PodV4)
		}
		seen[next[0]] = true
	}
	if len(seen) != lastIndex-firstIndex+1 || seen[GatewayV4] {
		t.Errorf("%d addresses, the gateway's among them: %v", len(seen), seen[GatewayV4])
	}
	back := netip.MustParseAddr("10.244.3.4")
	p.Give([]netip.Addr{back})
	if got, err := p.Take(false); err != nil || got[0] != back {
		t.Errorf("after %v was given back: %v, %v", back, got, err)
	}
}

func TestRangesDoNotMeet(t *testing.T) {
	ranges := []netip.Prefix{PodV4, PodV6, ServiceV4, ServiceV6}
	for i, a := range ranges {
		if a != a.Masked() {
			t.Errorf("%v has host bits", a)
		}
		for _, b := range ranges[i+1:] {
			if a.Overlaps(b) {
				t.Errorf("%v overlaps %v", a, b)
			}
		}
	}
}
