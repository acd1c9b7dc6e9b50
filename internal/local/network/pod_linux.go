package network

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Configure completes, inside the pod, what Attach began: addresses, the
// default route, loopback, sysctls, and the rules that refuse what is off the mesh.
func Configure(addrs []netip.Addr) error {
	v6 := HasIPv6()
	if err := setSysctls(podSysctls(v6)); err != nil {
		return err
	}
	if err := loopback(v6); err != nil {
		return err
	}
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("network: eth0: %w", err)
	}
	for _, a := range addrs {
		if err := addAddress(link, a); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("network: eth0 up: %w", err)
	}
	for _, a := range addrs {
		if err := defaultRoute(link, a); err != nil {
			return err
		}
	}
	return refuseOffMesh()
}

// podSysctls let any user open ports below 1024 and ping, as in a container,
// and use IPv6 whatever the machine's default is.
func podSysctls(v6 bool) []sysctl {
	list := []sysctl{
		{"net/ipv4/ip_unprivileged_port_start", "0"},
		{"net/ipv4/ping_group_range", "0 0"},
	}
	if v6 {
		list = append(list,
			sysctl{"net/ipv6/conf/all/disable_ipv6", "0"},
			sysctl{"net/ipv6/conf/lo/disable_ipv6", "0"},
			sysctl{"net/ipv6/conf/eth0/disable_ipv6", "0"},
			sysctl{"net/ipv6/conf/eth0/accept_dad", "0"},
			// A router of IPv6 cannot be told not to send redirects. Followed,
			// they lead answers past the router, which has to translate them back.
			sysctl{"net/ipv6/conf/eth0/accept_redirects", "0"})
	}
	return list
}

// loopback brings lo up, with the address from which the proxy calls its app.
func loopback(v6 bool) error {
	if err := up("lo"); err != nil {
		return err
	}
	if !v6 {
		return nil
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("network: lo: %w", err)
	}
	return addAddress(lo, netip.MustParseAddr("::6"))
}

// defaultRoute leads everything to the mesh: without one, a connect to a
// ClusterIP fails in the routing lookup, before capture sees it.
func defaultRoute(link netlink.Link, own netip.Addr) error {
	via, any := GatewayV4, netip.MustParsePrefix("0.0.0.0/0")
	if own.Is6() {
		via, any = GatewayV6, netip.MustParsePrefix("::/0")
	}
	if err := setNeighbour(link, via, hardware(1)); err != nil {
		return err
	}
	route := &netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: ipNet(any), Gw: via.AsSlice(), Src: own.AsSlice(),
		Flags: int(netlink.FLAG_ONLINK),
	}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("network: default route via %v: %w", via, err)
	}
	return nil
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("network: %s up: %w", name, err)
	}
	return nil
}

// addAddress skips duplicate address detection: addresses are ours to give,
// and are usable at once.
func addAddress(link netlink.Link, a netip.Addr) error {
	addr := &netlink.Addr{IPNet: ipNet(single(a))}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("network: %s: add address %v: %w", link.Attrs().Name, a, err)
	}
	return nil
}

func setNeighbour(link netlink.Link, a netip.Addr, mac net.HardwareAddr) error {
	err := netlink.NeighSet(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, Family: family(a), State: netlink.NUD_PERMANENT,
		IP: a.AsSlice(), HardwareAddr: mac,
	})
	if err != nil {
		return fmt.Errorf("network: %s: neighbour %v: %w", link.Attrs().Name, a, err)
	}
	return nil
}

func family(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
