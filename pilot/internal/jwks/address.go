package jwks

import (
	"fmt"
	"net/netip"
	"syscall"
)

// refused are addresses that no key server of others has, but that would let
// whoever writes a URL reach what is open to this machine alone. Private ranges
// are not among them: issuers in a cluster have such addresses.
var refused = []struct {
	what   string
	ranges []netip.Prefix
}{
	{"loopback", prefixes("127.0.0.0/8", "::1/128")},
	{"unspecified", prefixes("0.0.0.0/8", "::/128")},
	{"link-local", prefixes("169.254.0.0/16", "fe80::/10")},
	{"multicast or reserved", prefixes("224.0.0.0/3", "ff00::/8")},
	// RFC 8215: it hides an address of IPv4 in a way that only its owner knows.
	{"of a network's own NAT64", prefixes("64:ff9b:1::/48")},
	// Metadata servers outside of the link-local range: AWS and Google over IPv6,
	// Alibaba, Oracle, Azure.
	{"a cloud's metadata server", prefixes("fd00:ec2::254/128", "fd20:ce::254/128", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32")},
}

func prefixes(all ...string) (out []netip.Prefix) {
	for _, text := range all {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// gate decides which addresses may be dialled.
type gate struct{ allow []netip.Prefix }

// control is a net.Dialer's: it sees each address that is really dialled, after
// names were resolved, so that a name whose address changes wins nothing.
func (g gate) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return &failure{outcome: "refused", why: "its address cannot be read"}
	}
	return g.check(to.Addr())
}

// check says why an address is not dialled.
func (g gate) check(addr netip.Addr) error {
	for _, a := range forms(addr) {
		if within(g.allow, a) {
			continue
		}
		for _, r := range refused {
			if within(r.ranges, a) {
				return &failure{outcome: "refused", why: fmt.Sprintf("its address %s is refused (%s); the pilot's flag --jwks-allow can allow it", addr, r.what)}
			}
		}
	}
	return nil
}

func within(ranges []netip.Prefix, a netip.Addr) bool {
	for _, r := range ranges {
		if r.Contains(a) {
			return true
		}
	}
	return false
}

// Ways in which IPv6 addresses hold one of IPv4: NAT64 (RFC 6052), 6to4 (RFC
// 3056), and the old form of RFC 4291, section 2.5.5.1.
var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour  = netip.MustParsePrefix("2002::/16")
	compatible = netip.MustParsePrefix("::/96")
)

// forms are an address and the one inside of it.
func forms(addr netip.Addr) []netip.Addr {
	addr = addr.Unmap().WithZone("")
	raw := addr.As16()
	switch {
	case addr.Is4():
	case sixToFour.Contains(addr):
		return []netip.Addr{addr, netip.AddrFrom4([4]byte(raw[2:6]))}
	case addr == netip.IPv6Loopback() || addr == netip.IPv6Unspecified():
	case nat64.Contains(addr), compatible.Contains(addr):
		return []netip.Addr{addr, netip.AddrFrom4([4]byte(raw[12:]))}
	}
	return []netip.Addr{addr}
}
