package simulate

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	rawbuffer "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// targets are the endpoints of the named cluster to one of which a request
// goes; found is false when there is no such cluster. Balancing among them is
// Envoy's affair, only health and priority count here.
func (c *Config) targets(name string, conn connection) (all []Target, found bool, err error) {
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
		t := Target{Address: conn.destination.String()}
		return []Target{t}, true, c.transport(cl, nil, &t)
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
	for _, e := range serving(assignment) {
		t := Target{}
		if t.Address, err = endpointAddress(e.GetEndpoint().GetAddress()); err != nil {
			return nil, true, err
		}
		if err := c.transport(cl, e.GetMetadata(), &t); err != nil {
			return nil, true, fmt.Errorf("endpoint %s: %w", t.Address, err)
		}
		all = append(all, t)
	}
	return all, true, nil
}

// targets are those of the named cluster that are not ejected. Where too few
// are left, Envoy panics and takes all.
func (w walk) targets(name string) (all []Target, found bool, err error) {
	all, found, err = w.config.targets(name, w.conn)
	left := slices.DeleteFunc(slices.Clone(all), func(t Target) bool { return slices.Contains(w.call.Ejected[name], t.Address) })
	panics := 50.0
	if threshold := w.config.clusters[name].GetCommonLbConfig().GetHealthyPanicThreshold(); threshold != nil {
		panics = threshold.GetValue()
	}
	if len(left) == len(all) || 100*float64(len(left)) < panics*float64(len(all)) {
		return all, found, err
	}
	return left, found, err
}

// serving are the endpoints of the first priority that has any that may serve.
func serving(a *endpoint.ClusterLoadAssignment) []*endpoint.LbEndpoint {
	byPriority := map[uint32][]*endpoint.LbEndpoint{}
	last := uint32(0)
	for _, l := range a.GetEndpoints() {
		last = max(last, l.GetPriority())
		for _, e := range l.GetLbEndpoints() {
			switch e.GetHealthStatus() {
			case core.HealthStatus_UNKNOWN, core.HealthStatus_HEALTHY, core.HealthStatus_DEGRADED:
				byPriority[l.GetPriority()] = append(byPriority[l.GetPriority()], e)
			}
		}
	}
	for p := uint32(0); p <= last; p++ {
		if len(byPriority[p]) > 0 {
			return byPriority[p]
		}
	}
	return nil
}

func endpointAddress(a *core.Address) (string, error) {
	if s := a.GetSocketAddress(); s != nil {
		return net.JoinHostPort(s.GetAddress(), strconv.Itoa(int(s.GetPortValue()))), nil
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
	if socket == nil || socket.GetTypedConfig() == nil && socket.GetName() == "envoy.transport_sockets.raw_buffer" {
		return nil
	}
	config, err := socket.GetTypedConfig().UnmarshalNew()
	if err != nil {
		return err
	}
	switch config := config.(type) {
	case *rawbuffer.RawBuffer:
		return nil
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
