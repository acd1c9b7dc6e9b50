package simulate

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	proxyprotocol "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawbuffer "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// members are the endpoints of the named cluster; found is false when there is
// no such cluster.
func (c *Config) members(name string, conn connection) (all []member, found bool, err error) {
	cl := c.clusters[name]
	if cl == nil {
		return nil, false, nil
	}
	if err := checkKnown(cl); err != nil {
		return nil, true, err
	}
	assignment := cl.GetLoadAssignment()
	switch cl.GetType() {
	case cluster.Cluster_ORIGINAL_DST:
		at := conn.destination
		if port := cl.GetOriginalDstLbConfig().GetUpstreamPortOverride(); port != nil {
			at = netip.AddrPortFrom(at.Addr(), uint16(port.GetValue()))
		}
		m := member{serves: true, Target: Target{Address: at.String()}}
		err := c.transport(cl, nil, &m.Target)
		return []member{m}, true, err
	case cluster.Cluster_EDS:
		service := cl.GetEdsClusterConfig().GetServiceName()
		if service == "" {
			service = name
		}
		assignment = c.endpoints[service]
	case cluster.Cluster_STATIC, cluster.Cluster_STRICT_DNS, cluster.Cluster_LOGICAL_DNS:
	default:
		return nil, true, unknown("cluster type %v", cl.GetType())
	}
	if cl.GetClusterType().GetName() == dynamicForward {
		m := member{serves: true} // the walk knows which host is named
		err := c.transport(cl, nil, &m.Target)
		return []member{m}, true, err
	}
	all, err = membersOf(assignment, func(e *endpoint.LbEndpoint) (t Target, err error) {
		if t.Address, err = endpointAddress(e.GetEndpoint().GetAddress()); err != nil {
			return t, err
		}
		if err := c.transport(cl, e.GetMetadata(), &t); err != nil {
			return t, fmt.Errorf("endpoint %s: %w", t.Address, err)
		}
		return t, nil
	})
	return all, true, err
}

// targets are the endpoints of the named cluster to one of which a request
// goes: not those that are ejected, unless Envoy panics.
func (w walk) targets(name string) (all []Target, found bool, err error) {
	members, found, err := w.config.members(name, w.conn)
	if w.config.clusters[name].GetClusterType().GetName() == dynamicForward && len(members) == 1 {
		switch {
		case !w.looked:
			members = nil // Envoy knows no address of it
		case w.table != nil:
			members[0].Address = w.namedHost(members[0].TLS)
		default:
			members[0].Address = net.JoinHostPort(w.conn.serverName, strconv.Itoa(int(w.lookedPort)))
		}
	}
	for i := range members {
		if members[i].Proxied != "" {
			members[i].Proxied += " " + w.conn.source.Addr().String()
		}
		if slices.Contains(w.call.Ejected[name], members[i].Address) {
			members[i].serves = false
		}
	}
	return w.config.shared(w.config.clusters[name], members), found, err
}

// dynamicForward is the type of clusters that connect to the host asked for.
const dynamicForward = "envoy.clusters.dynamic_forward_proxy"

// namedHost is the host and port that a request names.
func (w walk) namedHost(secure bool) string {
	host, port, ok := cutPort(w.out.Request.Host)
	if !ok {
		if port = "80"; secure {
			port = "443"
		}
	}
	return net.JoinHostPort(host, port)
}

func endpointAddress(a *core.Address) (string, error) {
	if p := a.GetPipe(); p != nil {
		return "unix://" + p.GetPath(), nil
	}
	if s := a.GetSocketAddress(); s != nil {
		return net.JoinHostPort(s.GetAddress(), strconv.Itoa(int(s.GetPortValue()))), nil
	}
	if p := a.GetPipe(); p != nil {
		return "unix://" + p.GetPath(), nil
	}
	return "", unknown("endpoint address %v", a)
}

// transport fills in how the cluster speaks to an endpoint: by the first
// transport_socket_match whose criteria the endpoint's metadata meets, else by
// the cluster's own socket.
func (c *Config) transport(cl *cluster.Cluster, metadata *core.Metadata, t *Target) error {
	socket := cl.GetTransportSocket()
	has := metadata.GetFilterMetadata()["envoy.transport_socket_match"]
	for _, m := range cl.GetTransportSocketMatches() {
		if meets(has, m.GetMatch()) {
			socket = m.GetTransportSocket()
			break
		}
	}
	return c.socket(socket, t)
}

// socket fills in what a transport socket does.
func (c *Config) socket(socket *core.TransportSocket, t *Target) error {
	if socket == nil || socket.GetTypedConfig() == nil && socket.GetName() == "envoy.transport_sockets.raw_buffer" {
		return nil
	}
	config, err := unpacked(socket.GetTypedConfig())
	if err != nil {
		return err
	}
	switch config := config.(type) {
	case *rawbuffer.RawBuffer:
		return nil
	case *proxyprotocol.ProxyProtocolUpstreamTransport:
		t.Proxied = strings.ToLower(config.GetConfig().GetVersion().String())
		return c.socket(config.GetTransportSocket(), t)
	case *tls.UpstreamTlsContext:
		if err := c.secured(config, t); err != nil {
			return err
		}
		return checkKnown(config)
	}
	return unknown("transport socket %T", config)
}

// systemCAs is where a proxy's image has the public CAs.
const systemCAs = "/etc/ssl/certs/ca-certificates.crt"

func authority(c *tls.CommonTlsContext) Authority {
	switch {
	case c.GetCombinedValidationContext() != nil:
		return MeshCA
	case c.GetValidationContext().GetTrustedCa().GetFilename() == systemCAs:
		return PublicCA
	case c.GetValidationContext().GetTrustedCa() != nil:
		return MeshCA
	}
	return Unchecked
}

// statOf is the name of a cluster's statistics.
func (c *Config) statOf(name string) string {
	if alt := c.clusters[name].GetAltStatName(); alt != "" {
		return alt
	}
	return name
}

// unreachable says whether no connection can be made to any of the targets
// that answer so.
func (u Upstream) unreachable(all []Target) bool {
	return !slices.ContainsFunc(all, u.reachable)
}

func (u Upstream) reachable(t Target) bool {
	switch {
	case u.Refuse || t.Unready:
		return false
	case !t.TLS:
		return true
	}
	return !u.Hang && u.named(t.Names) && (t.CA == Unchecked || u.Public == (t.CA == PublicCA)) && !(u.Revoked && t.Revokes) && (t.Certificate || !u.Demands)
}

func (u Upstream) named(names []string) bool {
	return u.Identity == "" || len(names) == 0 || slices.ContainsFunc(names, func(name string) bool {
		prefix, any := strings.CutSuffix(name, "*")
		return name == u.Identity || any && strings.HasPrefix(u.Identity, prefix)
	})
}

// meets says whether has holds every field of want with the same value.
func meets(has, want *structpb.Struct) bool {
	for key, value := range want.GetFields() {
		if !proto.Equal(has.GetFields()[key], value) {
			return false
		}
	}
	return true
}
