// Package command is the command line of the capture program, which runs once
// in each pod, before its containers, as the only one with a right over the
// pod's network.
//
// Inputs: flags, in the form of Istio's pod annotations. Output: the rules of
// package capture in the pod's network namespace, tried out by a connection.
// Of the project it may import package capture alone.
package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/capture"
)

// flags are the command line before it is checked; texts have the form of the
// annotations they come from.
type flags struct {
	uid                                     uint32
	dns, verify, remove                     bool
	inboundPorts, excludeInboundPorts       string
	outboundPorts, excludeOutboundPorts     string
	outboundRanges, excludeOutboundRanges   string
	excludeInterfaces, rerouteInterfaceList []string
}

// New is the program's command. version is what --version prints.
func New(version string) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "capture",
		Short: "Redirect a pod's traffic to the proxy beside it",
		Long: `Redirect the TCP connections and DNS queries of this pod to its proxy, by
nftables rules in the network namespace that the program is started in. It is
the pod's first init container, and the only one that needs CAP_NET_ADMIN. A
second run replaces the rules of the first. It fails, and so does the pod's
start, when a connection that it opens does not arrive at the proxy's port.`,
		Version: version, Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context()) },
	}
	f.register(cmd.Flags())
	return cmd
}

func (f *flags) register(set *pflag.FlagSet) {
	set.SortFlags = false
	set.Uint32Var(&f.uid, "proxy-uid", capture.ProxyUID, "user whose own connections are left alone")
	set.BoolVar(&f.dns, "dns", true, "redirect port 53 to the agent, UDP and TCP")
	set.StringVar(&f.inboundPorts, "include-inbound-ports", "*", `ports to capture: "*", or a comma separated list`)
	set.StringVar(&f.excludeInboundPorts, "exclude-inbound-ports", "", "ports to leave alone")
	set.StringVar(&f.outboundRanges, "include-outbound-ranges", "*", `destinations to capture: "*", or CIDRs`)
	set.StringVar(&f.excludeOutboundRanges, "exclude-outbound-ranges", "", "destinations to leave alone, as CIDRs")
	set.StringVar(&f.outboundPorts, "include-outbound-ports", "", "ports to capture whatever the destination")
	set.StringVar(&f.excludeOutboundPorts, "exclude-outbound-ports", "", "ports to leave alone whatever the destination")
	set.StringSliceVar(&f.excludeInterfaces, "exclude-interfaces", nil, "interfaces whose packets are left alone")
	set.StringSliceVar(&f.rerouteInterfaceList, "reroute-interfaces", nil, "interfaces of virtual machines: what comes in by them is outbound traffic")
	set.BoolVar(&f.verify, "verify", true, "open a connection and fail unless it is redirected")
	set.BoolVar(&f.remove, "remove", false, "take the rules away again, on a machine that leaves the mesh")
}

func (f *flags) run(ctx context.Context) error {
	if f.remove {
		return capture.Remove()
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	if err := passthroughAddress(); err != nil {
		return err
	}
	if err := capture.Apply(o); err != nil {
		return err
	}
	if !f.verify {
		slog.Info("traffic is redirected", "verified", false)
		return nil
	}
	seen, err := capture.Verify(ctx, o)
	if err != nil {
		return err
	}
	slog.Info("traffic is redirected", "verified", seen)
	return nil
}

// options reads the flags. An error names the flag.
func (f *flags) options() (capture.Options, error) {
	o := capture.Options{
		Proxy: capture.Proxy{UID: f.uid}, DNS: f.dns,
		ExcludeInterfaces: f.excludeInterfaces, RerouteInterfaces: f.rerouteInterfaceList,
	}
	var failed []error
	for _, list := range []struct {
		flag, text string
		all        bool // "*" may be said
		into       *[]uint16
	}{
		{"--include-inbound-ports", f.inboundPorts, true, &o.IncludeInboundPorts},
		{"--exclude-inbound-ports", f.excludeInboundPorts, false, &o.ExcludeInboundPorts},
		{"--include-outbound-ports", f.outboundPorts, false, &o.IncludeOutboundPorts},
		{"--exclude-outbound-ports", f.excludeOutboundPorts, false, &o.ExcludeOutboundPorts},
	} {
		ports, err := each(list.text, list.all, port)
		*list.into = ports
		failed = append(failed, named(list.flag, err))
	}
	var err error
	o.IncludeOutboundCIDRs, err = each(f.outboundRanges, true, cidr)
	failed = append(failed, named("--include-outbound-ranges", err))
	o.ExcludeOutboundCIDRs, err = each(f.excludeOutboundRanges, false, cidr)
	failed = append(failed, named("--exclude-outbound-ranges", err))
	return o, errors.Join(failed...)
}

func named(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", flag, err)
}

// each reads a comma separated list; "*" is nil, an empty text an empty list.
func each[T any](text string, all bool, read func(string) (T, error)) ([]T, error) {
	if all && strings.TrimSpace(text) == "*" {
		return nil, nil
	}
	out := []T{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		v, err := read(item)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func port(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q: want a number of 1 to 65535", text)
	}
	return uint16(n), nil
}

// cidr also takes a single address.
func cidr(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("range %q: want a CIDR such as 10.0.0.0/8", text)
	}
	return p.Masked(), nil
}

// passthroughAddress puts ::6 on lo, from which the proxy calls its app;
// 127.0.0.6 is there by itself. A pod without IPv6 needs none.
func passthroughAddress() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("capture: interface lo: %w", err)
	}
	address := &netlink.Addr{
		IPNet: &net.IPNet{IP: capture.PassthroughV6.AsSlice(), Mask: net.CIDRMask(128, 128)},
		Flags: unix.IFA_F_NODAD,
	}
	switch err := netlink.AddrReplace(lo, address); {
	case err == nil, errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return nil
	case ipv6Disabled():
		return nil
	default:
		return fmt.Errorf("capture: add %s to lo: %w (CAP_NET_ADMIN over this network namespace is needed)", capture.PassthroughV6, err)
	}
}

// ipv6Disabled reports whether lo has no IPv6 address at all.
func ipv6Disabled() bool {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return false
	}
	list, err := netlink.AddrList(lo, netlink.FAMILY_V6)
	return err != nil || len(list) == 0
}
