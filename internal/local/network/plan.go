package network

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// The ranges of a mesh, the same in each: meshes never meet. 10.244.0.0/16 and
// 10.96.0.0/12 are what kubeadm and flannel give a cluster.
var (
	PodV4     = netip.MustParsePrefix("10.244.0.0/16")
	PodV6     = netip.MustParsePrefix("fd00:10:244::/64")
	ServiceV4 = netip.MustParsePrefix("10.96.0.0/12")
	ServiceV6 = netip.MustParsePrefix("fd00:10:96::/112")
)

// The mesh's own addresses: each pod's next hop.
var (
	GatewayV4 = netip.MustParseAddr("10.244.0.1")
	GatewayV6 = netip.MustParseAddr("fd00:10:244::1")
)

// lastIndex keeps the broadcast address out; 1 is the gateway.
const firstIndex, lastIndex = 2, 0xfffe

// hardware gives an address its MAC: known on both ends, it spares the
// neighbour table, whose size all namespaces of the machine share.
func hardware(index uint16) net.HardwareAddr {
	return net.HardwareAddr{0x0a, 0x58, 0x0a, 0xf4, byte(index >> 8), byte(index)}
}

// at is the n-th address of a range.
func at(p netip.Prefix, index uint16) netip.Addr {
	raw := p.Addr().AsSlice()
	binary.BigEndian.PutUint16(raw[len(raw)-2:], index)
	a, _ := netip.AddrFromSlice(raw)
	return a
}

// indexOf is the reverse of at, for addresses of PodV4.
func indexOf(addrs []netip.Addr) (uint16, error) {
	for _, a := range addrs {
		if PodV4.Contains(a) {
			raw := a.As4()
			return binary.BigEndian.Uint16(raw[2:]), nil
		}
	}
	return 0, fmt.Errorf("network: addresses %v: none in %v; take them from NewAddresses", addrs, PodV4)
}

// Pool hands out addresses of pods. Its zero value is ready; it is safe for
// concurrent use.
type Pool struct {
	mu   sync.Mutex
	next uint16 // goes round, so that an address is not used again at once
	used map[uint16]bool
}

// Take gives the IPv4 address, and with v6 the IPv6 address, of a new pod.
func (p *Pool) Take(v6 bool) ([]netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used == nil {
		p.used, p.next = map[uint16]bool{}, firstIndex
	}
	for range lastIndex {
		index := p.next
		if p.next++; p.next > lastIndex {
			p.next = firstIndex
		}
		if !p.used[index] {
			p.used[index] = true
			return addresses(index, v6), nil
		}
	}
	return nil, fmt.Errorf("network: all %d addresses of %v are taken", len(p.used), PodV4)
}

func addresses(index uint16, v6 bool) []netip.Addr {
	out := []netip.Addr{at(PodV4, index)}
	if v6 {
		out = append(out, at(PodV6, index))
	}
	return out
}

// Give takes back the addresses of a pod that is gone.
func (p *Pool) Give(addrs []netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if index, err := indexOf(addrs); err == nil {
		delete(p.used, index)
	}
}
