package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// bridgeName is in the mesh's own namespace, so two meshes may both use it.
const bridgeName = "weft0"

// HasIPv6 tells whether this kernel runs IPv6 at all.
func HasIPv6() bool {
	_, err := os.Stat("/proc/net/if_inet6")
	return err == nil
}

// Bridge is the mesh's side of the network.
type Bridge struct {
	link netlink.Link
	v6   bool
}

// NewBridge sets up the network namespace of this process as that of a mesh.
func NewBridge() (*Bridge, error) {
	b := &Bridge{v6: HasIPv6()}
	if err := setSysctls(append(routerSysctls(b.v6), bridgeSysctls()...)); err != nil {
		return nil, err
	}
	if err := up("lo"); err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = bridgeName, hardware(1)
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return nil, fmt.Errorf("network: add bridge: %w", err)
	}
	link, err := netlink.LinkByName(bridgeName)
	if err != nil {
		return nil, fmt.Errorf("network: find bridge: %w", err)
	}
	b.link = link
	if err := b.address(); err != nil {
		return nil, err
	}
	// Kernels before 5.9 cannot refuse there; the routes still do, more slowly.
	_ = refuseUnreachable()
	return b, nil
}

// routerSysctls let packets from one pod to another pass by the bridge without
// redirects, and make refusals come at once, however many.
func routerSysctls(v6 bool) []sysctl {
	list := []sysctl{
		{"net/ipv4/ip_forward", "1"},
		{"net/ipv4/conf/all/send_redirects", "0"},
		{"net/ipv4/conf/default/send_redirects", "0"},
		{"net/ipv4/icmp_ratelimit", "0"},
	}
	if v6 {
		list = append(list,
			sysctl{"net/ipv6/conf/all/forwarding", "1"},
			sysctl{"net/ipv6/conf/all/disable_ipv6", "0"},
			sysctl{"net/ipv6/conf/default/accept_dad", "0"},
			sysctl{"net/ipv6/icmp/ratelimit", "0"})
	}
	return list
}

// bridgeSysctls keep the module br_netfilter, which Docker and Kubernetes load,
// from translating addresses below the router: it would send a pod's call of its
// own service back as from the pod itself.
func bridgeSysctls() (list []sysctl) {
	for _, name := range []string{"iptables", "ip6tables", "arptables"} {
		path := "net/bridge/bridge-nf-call-" + name
		if _, err := os.Stat("/proc/sys/" + path); err == nil {
			list = append(list, sysctl{path, "0"})
		}
	}
	return list
}

// address gives the bridge its own addresses and refuses what no pod has.
func (b *Bridge) address() error {
	own := []netip.Addr{GatewayV4}
	refused := []netip.Prefix{PodV4, ServiceV4}
	if b.v6 {
		own = append(own, GatewayV6)
		refused = append(refused, PodV6, ServiceV6)
	}
	for _, a := range own {
		if err := addAddress(b.link, a); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(b.link); err != nil {
		return fmt.Errorf("network: bridge up: %w", err)
	}
	for _, p := range refused {
		route := &netlink.Route{Dst: ipNet(p), Type: unix.RTN_UNREACHABLE}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("network: unreachable route %v: %w", p, err)
		}
	}
	return nil
}

// Attach gives the pod whose pid-namespace init is pid (as this process sees
// it) an interface eth0 and makes its addresses reachable. Configure, inside
// the pod, does the rest.
func (b *Bridge) Attach(pid int, addrs []netip.Addr) error {
	index, err := indexOf(addrs)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = portName(index), b.link.Attrs().Index
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr = "eth0", hardware(index)
	veth.PeerNamespace = netlink.NsPid(pid)
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("network: add interface of %v: %w", addrs, err)
	}
	if err := up(attrs.Name); err != nil {
		return err
	}
	for _, a := range addrs {
		if err := b.reach(a, hardware(index)); err != nil {
			return err
		}
	}
	return nil
}

func portName(index uint16) string { return fmt.Sprintf("pod%d", index) }

// reach routes one pod address over the bridge and tells its MAC.
func (b *Bridge) reach(a netip.Addr, mac net.HardwareAddr) error {
	route := &netlink.Route{LinkIndex: b.link.Attrs().Index, Dst: ipNet(single(a)), Scope: netlink.SCOPE_LINK}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("network: route to %v: %w", a, err)
	}
	return setNeighbour(b.link, a, mac)
}

// Detach forgets the addresses of a pod; its interface went with its namespace.
// Connections to them are refused from now on.
func (b *Bridge) Detach(addrs []netip.Addr) {
	for _, a := range addrs {
		// Both may be gone already: then nothing is to be done.
		_ = netlink.RouteDel(&netlink.Route{LinkIndex: b.link.Attrs().Index, Dst: ipNet(single(a)), Scope: netlink.SCOPE_LINK})
		_ = netlink.NeighDel(&netlink.Neigh{LinkIndex: b.link.Attrs().Index, IP: a.AsSlice(), Family: family(a)})
	}
}
