package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// servicesTable holds what kube-proxy does in a cluster.
const servicesTable = "weft_services"

// Service is one port of a Service as pods without proxy see it.
type Service struct {
	// IPs are its ClusterIPs, one of each family at most.
	IPs  []netip.Addr
	Port uint16
	// UDP tells that it is not TCP.
	UDP bool
	// Endpoints that are ready. A connection goes to one of its IP's family at
	// random; with none it is refused.
	Endpoints []netip.AddrPort
}

// SetServices makes the mesh's router translate ClusterIPs, and no others than
// these, in one transaction. Open connections stay where they are.
func SetServices(list []Service) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("network: netlink socket: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: servicesTable}
	conn.AddTable(table) // so that there is one to delete
	conn.DelTable(table)
	conn.AddTable(table)
	forward := natChain(conn, table, "prerouting", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	own := natChain(conn, table, "output", nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	back := natChain(conn, table, "postrouting", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	hairpins := map[netip.Addr]bool{}
	for _, s := range list {
		for _, rule := range s.rules() {
			conn.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: rule})
			conn.AddRule(&nftables.Rule{Table: table, Chain: own, Exprs: rule})
		}
		for _, e := range s.Endpoints {
			if a := e.Addr(); !hairpins[a] {
				hairpins[a] = true
				conn.AddRule(&nftables.Rule{Table: table, Chain: back, Exprs: hairpin(a)})
			}
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("network: nftables batch %s: %w", servicesTable, err)
	}
	return nil
}

func natChain(conn *nftables.Conn, table *nftables.Table, name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
	return conn.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: priority})
}

// rules share the connections to each IP evenly: the first rule takes one of
// n, the next one of the n-1 that are left, and so on.
func (s Service) rules() (rules [][]expr.Any) {
	for _, ip := range s.IPs {
		var ends []netip.AddrPort
		for _, e := range s.Endpoints {
			if e.Addr().Is4() == ip.Is4() {
				ends = append(ends, e)
			}
		}
		for i, e := range ends {
			rule := append(s.match(ip), oneOf(len(ends)-i)...)
			rules = append(rules, append(rule, translate(e)...))
		}
	}
	return rules
}

func (s Service) match(ip netip.Addr) []expr.Any {
	proto := byte(unix.IPPROTO_TCP)
	if s.UDP {
		proto = unix.IPPROTO_UDP
	}
	return append(destinationIn(single(ip)),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, s.Port)})
}

// oneOf holds for one connection in n.
func oneOf(n int) []expr.Any {
	if n <= 1 {
		return nil
	}
	return []expr.Any{
		&expr.Numgen{Register: 1, Modulus: uint32(n), Type: unix.NFT_NG_RANDOM},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)},
	}
}

func translate(to netip.AddrPort) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, to.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(nfFamily(to.Addr())), RegAddrMin: 1, RegProtoMin: 2},
	}
}

func nfFamily(a netip.Addr) byte {
	if a.Is4() {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

// hairpin gives a pod that reaches itself by its service another source: it
// would not take packets from its own address.
func hairpin(a netip.Addr) []expr.Any {
	return append(append(addressIn(sourceSide, single(a)), addressIn(destinationSide, single(a))...), &expr.Masq{})
}
