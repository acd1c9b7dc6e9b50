package machine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Names of interfaces: the LAN's bridge on the switch, and the one interface of
// every other machine.
const (
	bridgeName = "br0"
	nicName    = "eth0"
)

// connect sets up this network namespace: it has its interface already, unless
// it is the switch.
func (m Machine) connect() error {
	if err := up("lo"); err != nil {
		return err
	}
	name := nicName
	if m.Switch {
		name = bridgeName
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return fmt.Errorf("bridge of the LAN: %w", err)
		}
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(m.Address)}); err != nil {
		return fmt.Errorf("address %v: %w", m.Address, err)
	}
	if err := up(name); err != nil {
		return err
	}
	if err := m.route(); err != nil {
		return err
	}
	// On the switch too: it answers what leads nowhere at once.
	for _, file := range []string{"net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"} {
		err := os.WriteFile("/proc/sys/"+file, []byte("1"), 0o644)
		if err != nil && !os.IsNotExist(err) { // a kernel without br_netfilter
			return err
		}
	}
	return nil
}

func (m Machine) route() error {
	routes := m.Routes
	if m.Gateway.IsValid() {
		routes = append(routes[:len(routes):len(routes)], Route{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: m.Gateway})
	}
	for _, r := range routes {
		if err := netlink.RouteReplace(&netlink.Route{Dst: ipNet(r.To), Gw: net.IP(r.Via.AsSlice())}); err != nil {
			return fmt.Errorf("route %v via %v: %w", r.To, r.Via, err)
		}
	}
	return nil
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// port is the name of the switch's interface towards a machine.
func (m Machine) port() string { return "to-" + m.Name }

// plug gives process pid's network namespace an interface on the LAN of the
// switch, which runs as process lan.
func plug(m Machine, pid, lan int) error {
	return onSwitch(lan, func(h *netlink.Handle) error {
		bridge, err := h.LinkByName(bridgeName)
		if err != nil {
			return fmt.Errorf("bridge of the LAN: %w", err)
		}
		cable := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: m.port(), MasterIndex: bridge.Attrs().Index, Flags: net.FlagUp},
			PeerName:  nicName, PeerNamespace: netlink.NsPid(pid),
		}
		if err := h.LinkAdd(cable); err != nil {
			return fmt.Errorf("plug %s into the LAN: %w", m.Name, err)
		}
		link, err := h.LinkByName(m.port())
		if err != nil {
			return err
		}
		return h.LinkSetUp(link)
	})
}

// unplug takes the interface away at once: the kernel would do so some time
// after the machine's end.
func unplug(m Machine, lan int) error {
	return onSwitch(lan, func(h *netlink.Handle) error {
		link, err := h.LinkByName(m.port())
		if gone := (netlink.LinkNotFoundError{}); errors.As(err, &gone) {
			return nil
		} else if err != nil {
			return err
		}
		if err := h.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			return err
		}
		return nil
	})
}

// onSwitch gives do a netlink socket in the switch's network namespace.
func onSwitch(lan int, do func(*netlink.Handle) error) error {
	ns, err := netns.GetFromPid(lan)
	if err != nil {
		return fmt.Errorf("network of the LAN: %w", err)
	}
	defer func() { _ = ns.Close() }()
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("network of the LAN: %w", err)
	}
	defer handle.Close()
	return do(handle)
}
