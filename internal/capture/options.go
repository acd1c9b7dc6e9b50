package capture

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The ports of the proxy, as Istio names them.
const (
	OutboundPort uint16 = 15001 // takes what the app opens
	InboundPort  uint16 = 15006 // takes what others open to the app
	// DNSPort takes what the app asks of any resolver, UDP and TCP. Listen on
	// 127.0.0.1 and ::1: a UDP answer from a wildcard socket would have the pod's
	// address as its source and not be translated back.
	DNSPort uint16 = 15053
)

// ProxyUID is the user the proxy runs as where one can be chosen (Istio's).
const ProxyUID uint32 = 1337

// ProxyMark is the SO_MARK of the proxy's sockets where its user is the app's.
const ProxyMark uint32 = 1337

// OwnInboundPorts are never captured: they are served by the proxy or the
// agent themselves (15008 HBONE, 15020 agent, 15021 readiness, 15090 metrics).
var OwnInboundPorts = []uint16{15008, 15020, 15021, 15090}

// Proxy tells the proxy's own connections from the app's. At least one of the
// two is set; with both set, either is enough.
type Proxy struct {
	// UID owns the proxy's sockets. 0: not told by user, because an app may be root.
	UID uint32
	// Mark is the SO_MARK on the proxy's sockets. 0: not told by mark.
	Mark uint32
}

// Options select what is captured. The zero value but for Proxy captures every
// TCP connection in and out and no DNS. The lists follow Istio's annotations
// traffic.sidecar.istio.io/{include,exclude}{Inbound,Outbound}{Ports,IPRanges}.
type Options struct {
	Proxy Proxy
	// DNS also takes port 53, UDP and TCP, to whatever address.
	DNS bool
	// IncludeInboundPorts: nil means every port, empty means none.
	IncludeInboundPorts []uint16
	ExcludeInboundPorts []uint16
	// IncludeOutboundPorts are captured even outside IncludeOutboundCIDRs.
	IncludeOutboundPorts []uint16
	ExcludeOutboundPorts []uint16
	// IncludeOutboundCIDRs: nil means every address, empty means none.
	IncludeOutboundCIDRs []netip.Prefix
	ExcludeOutboundCIDRs []netip.Prefix
	// ExcludeInterfaces name interfaces (such as "net1") whose packets, in and
	// out, are left alone.
	ExcludeInterfaces []string
	// RerouteInterfaces name interfaces behind which a virtual machine is: what
	// comes in by them is the app's own outbound traffic.
	RerouteInterfaces []string
}

// check refuses options that would capture the proxy itself, for ever in a circle.
func (o Options) check() error {
	if o.Proxy == (Proxy{}) {
		return fmt.Errorf("capture: proxy: set a uid or a mark, else the proxy's own connections come back to it")
	}
	for _, name := range append(append([]string{}, o.ExcludeInterfaces...), o.RerouteInterfaces...) {
		if name == "" || name == "lo" || len(name) >= unix.IFNAMSIZ {
			return fmt.Errorf("capture: interface %q: want a name of 1 to %d characters, and not lo", name, unix.IFNAMSIZ-1)
		}
	}
	for _, list := range [][]netip.Prefix{o.IncludeOutboundCIDRs, o.ExcludeOutboundCIDRs} {
		for _, p := range list {
			if !p.IsValid() || p != p.Masked() {
				return fmt.Errorf("capture: CIDR %q: write it with the host bits zero, such as 10.0.0.0/8", p)
			}
		}
	}
	return nil
}
