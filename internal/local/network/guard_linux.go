package network

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// guardTable holds the rules that refuse, inside a pod, what is off the mesh.
const guardTable = "weft_guard"

// refuseOffMesh makes a connect to an address that no mesh has fail at once
// instead of after minutes.
func refuseOffMesh() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("network: netlink socket: %w", err)
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: guardTable})
	chain := conn.AddChain(&nftables.Chain{
		Name: "output", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
	})
	for _, r := range guardRules() {
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: r})
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("network: nftables batch %s: %w", guardTable, err)
	}
	return nil
}

// refuseUnreachable answers, in the mesh's router, connections to addresses that
// no pod has with a reset. The route's ICMP message alone would take an IPv6
// client a second to see.
func refuseUnreachable() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("network: netlink socket: %w", err)
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: guardTable})
	chain := conn.AddChain(&nftables.Chain{
		Name: "prerouting", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityFilter, // after the translation of services
	})
	for _, own := range []netip.Addr{GatewayV4, GatewayV6} {
		accept := append(destinationIn(single(own)), &expr.Verdict{Kind: expr.VerdictAccept})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: accept})
	}
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Fib{Register: 1, FlagDADDR: true, ResultOIF: true}, // 0: no way there
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)},
		&expr.Reject{Type: unix.NFT_REJECT_TCP_RST},
	}})
	return conn.Flush()
}

func guardRules() [][]expr.Any {
	lo := make([]byte, unix.IFNAMSIZ)
	copy(lo, "lo")
	accept := &expr.Verdict{Kind: expr.VerdictAccept}
	rules := [][]expr.Any{{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: lo},
		accept,
	}}
	// A redirected packet has the loopback address as its destination but still
	// shows eth0 as its interface here: so loopback is among them.
	for _, on := range []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"),
		PodV4, PodV6, ServiceV4, ServiceV6,
		netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
	} {
		rules = append(rules, append(destinationIn(on), accept))
	}
	return append(rules,
		[]expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Reject{Type: unix.NFT_REJECT_TCP_RST},
		},
		[]expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}})
}

// side is which address of a packet is looked at.
type side struct{ v4, v6 uint32 } // offsets in the IP headers

var (
	sourceSide      = side{12, 8}
	destinationSide = side{16, 24}
)

func destinationIn(p netip.Prefix) []expr.Any { return addressIn(destinationSide, p) }

func addressIn(s side, p netip.Prefix) []expr.Any {
	size, offset := uint32(16), s.v6
	if p.Addr().Is4() {
		size, offset = 4, s.v4
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{nfFamily(p.Addr())}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: ipNet(p).Mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()},
	}
}
