package capture

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// match is a part of a rule: all of its expressions must hold, in this order.
type match []expr.Any

// rule joins matches and what is done when they hold.
func rule(parts ...match) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func metaIs(key expr.MetaKey, value []byte) match {
	return match{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value},
	}
}

// loopback holds for packets that go out by lo: among them all that the pod
// sends to its own address.
func loopback() match { return byInterface(expr.MetaKeyOIFNAME, "lo") }

// byInterface holds for packets that come in (MetaKeyIIFNAME) or go out
// (MetaKeyOIFNAME) by the interface of that name.
func byInterface(key expr.MetaKey, name string) match {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return metaIs(key, padded)
}

func protocol(number byte) match { return metaIs(expr.MetaKeyL4PROTO, []byte{number}) }

func tcp() match { return protocol(unix.IPPROTO_TCP) }

// port holds for the destination port of TCP and UDP alike.
func port(number uint16) match {
	return match{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, number)},
	}
}

// byUID holds for sockets that uid owns.
func byUID(uid uint32) match {
	return metaIs(expr.MetaKeySKUID, binaryutil.NativeEndian.PutUint32(uid))
}

// byMark holds for sockets with this SO_MARK.
func byMark(mark uint32) match {
	return metaIs(expr.MetaKeyMARK, binaryutil.NativeEndian.PutUint32(mark))
}

// side is the end of a packet that an address is compared with.
type side int

const (
	source side = iota
	destination
)

// offset of the address in the IP header.
func (s side) offset(v4 bool) uint32 {
	switch {
	case v4 && s == source:
		return 12
	case v4:
		return 16
	case s == source:
		return 8
	}
	return 24
}

// address holds when that side of the packet is in prefix (op eq), or is an
// address of the same family outside of it (op neq).
func address(s side, op expr.CmpOp, prefix netip.Prefix) match {
	v4, size, family := prefix.Addr().Is4(), uint32(16), byte(unix.NFPROTO_IPV6)
	if v4 {
		size, family = 4, unix.NFPROTO_IPV4
	}
	m := metaIs(expr.MetaKeyNFPROTO, []byte{family})
	m = append(m, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: s.offset(v4), Len: size})
	if prefix.Bits() < int(size)*8 {
		m = append(m, &expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: size,
			Mask: mask(prefix.Bits(), int(size)), Xor: make([]byte, size),
		})
	}
	return append(m, &expr.Cmp{Op: op, Register: 1, Data: prefix.Masked().Addr().AsSlice()})
}

// mask is size bytes whose first bits are one.
func mask(bits, size int) []byte {
	out := make([]byte, size)
	for i := range bits {
		out[i/8] |= 0x80 >> (i % 8)
	}
	return out
}

// leave ends the chain without a change to the packet.
func leave() match { return match{&expr.Verdict{Kind: expr.VerdictReturn}} }

// redirect sends the connection to a port of this network namespace; the
// original destination stays readable by SO_ORIGINAL_DST.
func redirect(to uint16) match {
	return match{
		&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, to)},
		&expr.Redir{RegisterProtoMin: 1, Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED},
	}
}
