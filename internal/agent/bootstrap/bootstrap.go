// Package bootstrap makes the static configuration with which the agent starts
// its Envoy: who it is, where its xDS and secrets come from, its health and
// metrics ports, and its limits.
//
// Input: a Config. Output: Envoy's bootstrap proto, or its JSON, whose bytes
// are equal for equal input, so that a restarted agent can tell whether a
// running Envoy has the configuration it would give it. The package does no
// I/O and may import, of the agent, only node.
package bootstrap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/agent/node"
)

// Names of the bootstrap's own clusters. XDSCluster, SDSCluster, TapCluster and
// CountCluster are referred to by what the pilot sends.
const (
	XDSCluster        = "xds-grpc"
	SDSCluster        = "sds-grpc"
	TapCluster        = "tap-grpc"
	CountCluster      = "count-grpc"
	agentCluster      = "agent"
	prometheusCluster = "prometheus_stats"
	localCluster      = "local_cluster" // of nodes with SelfDiscovery; the name is Istio's
)

// Ports are those of Istio's sidecar. A zero field means Istio's number.
type Ports struct {
	Admin      uint16 // 15000, loopback: Envoy's admin, where it has no socket
	Status     uint16 // 15020: the agent's health and metrics
	Health     uint16 // 15021: Envoy's listener that asks the agent
	Prometheus uint16 // 15090: Envoy's own metrics
}

// WithDefaults returns p with every zero port set to Istio's number.
func (p Ports) WithDefaults() Ports {
	fill := func(port *uint16, number uint16) {
		if *port == 0 {
			*port = number
		}
	}
	fill(&p.Admin, 15000)
	fill(&p.Status, 15020)
	fill(&p.Health, 15021)
	fill(&p.Prometheus, 15090)
	return p
}

// Config is all that a bootstrap depends on. The sockets are required.
type Config struct {
	Node           node.Node
	Ports          Ports
	XDSSocket      string         // path of the agent's ADS socket
	SDSSocket      string         // path of the agent's SDS socket
	TapSocket      string         // path of the agent's access-log socket
	CountSocket    string         // path of the socket of what the agent counts
	AdminSocket    string         // path of Envoy's administration; "": at Ports.Admin
	EjectionLog    string         // path of the file to which outlier detection's events go; "": none
	SocketMark     uint32         // SO_MARK of upstream sockets; 0: none
	MaxConnections int64          // downstream connections of the whole Envoy; 0: 50,000
	MaxHeap        int64          // bytes of heap, near which requests are refused; 0: no bound
	Stats          Stats          // that are kept beside those of every proxy
	AccessLogs     *Remote        // a service of logs; nil: none
	Metrics        *Remote        // a service that statistics go to; nil: none
	Statsd         netip.AddrPort // UDP, that statistics go to; zero: none
	// InboundLimit bounds the connections of a sidecar's listener for its app; 0: it
	// has no bound of its own.
	InboundLimit int64
	// Runtime are values of Envoy's runtime. An empty one takes one of ours away.
	Runtime map[string]string
}

const defaultMaxConnections = 50_000

// JSON is the bootstrap file's content. Errors: a proto that JSON cannot hold,
// which no Config makes.
func JSON(c Config) ([]byte, error) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(Build(c))
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	// protojson varies its white space on purpose; ours must not vary.
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", " "); err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	return append(out.Bytes(), '\n'), nil
}

// Build is the bootstrap of c.
// Source: envoy.config.bootstrap.v3.Bootstrap.
func Build(c Config) *bootstrapv3.Bootstrap {
	c.Ports = c.Ports.WithDefaults()
	return &bootstrapv3.Bootstrap{
		Node:             c.Node.Proto(),
		Admin:            admin(c),
		DynamicResources: dynamicResources(),
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Clusters:  clusters(c),
			Listeners: listeners(c),
		},
		ClusterManager:         clusterManager(c),
		OverloadManager:        overload(c),
		LayeredRuntime:         runtime(c),
		StatsSinks:             sinks(c),
		StatsConfig:            statsConfig(c.Stats, c.Node.WithDefaults().Domain),
		DeferredStatOptions:    &bootstrapv3.Bootstrap_DeferredStatOptions{EnableDeferredCreationStats: true},
		MemoryAllocatorManager: memory(),
	}
}

// admin ignores the connection limit, so that a full proxy can be looked at
// and drained.
func admin(c Config) *bootstrapv3.Admin {
	return &bootstrapv3.Admin{Address: adminAddress(c), IgnoreGlobalConnLimit: true}
}

// adminAddress is a socket of the agent's user alone, which no route leads to.
func adminAddress(c Config) *corev3.Address {
	if c.AdminSocket == "" {
		return socketAddress(netip.AddrPortFrom(loopback, c.Ports.Admin))
	}
	out := pipe(c.AdminSocket)
	out.GetPipe().Mode = 0o600
	return out
}

// dynamicResources never gives up its first fetch: an Envoy without listeners
// that calls itself started would be worse than one that waits.
func dynamicResources() *bootstrapv3.Bootstrap_DynamicResources {
	return &bootstrapv3.Bootstrap_DynamicResources{
		LdsConfig: adsSource(),
		CdsConfig: adsSource(),
		AdsConfig: &corev3.ApiConfigSource{
			ApiType:                   corev3.ApiConfigSource_DELTA_GRPC,
			TransportApiVersion:       corev3.ApiVersion_V3,
			SetNodeOnFirstMessageOnly: true,
			GrpcServices:              []*corev3.GrpcService{grpcService(XDSCluster)},
		},
	}
}

func adsSource() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		InitialFetchTimeout:   durationpb.New(0),
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

// grpcService reconnects sooner than Envoy would by itself (0.5 s to 30 s):
// the other end is a process of the same pod, which does the long waiting.
func grpcService(cluster string) *corev3.GrpcService {
	backOff := &corev3.BackoffStrategy{
		BaseInterval: durationpb.New(100 * time.Millisecond),
		MaxInterval:  durationpb.New(2 * time.Second),
	}
	target := &corev3.GrpcService_EnvoyGrpc{
		ClusterName: cluster,
		RetryPolicy: &corev3.RetryPolicy{RetryBackOff: backOff},
	}
	return &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: target}}
}

// clusterManager says which cluster is the proxy's own workload, where to log who is
// ejected and why, and marks upstream sockets where capture excludes the proxy by mark (rootless, where
// proxy and app share one uid).
func clusterManager(c Config) *bootstrapv3.ClusterManager {
	if c.SocketMark == 0 && !c.Node.SelfDiscovery && c.EjectionLog == "" {
		return nil
	}
	out := &bootstrapv3.ClusterManager{}
	if c.EjectionLog != "" {
		out.OutlierDetection = &bootstrapv3.ClusterManager_OutlierDetection{EventLogPath: c.EjectionLog}
	}
	if c.Node.SelfDiscovery {
		out.LocalClusterName = localCluster
	}
	if c.SocketMark != 0 {
		out.UpstreamBindConfig = marked(c.SocketMark)
	}
	return out
}

func marked(mark uint32) *corev3.BindConfig {
	const solSocket, soMark = 1, 36 // Linux, <asm-generic/socket.h>
	return &corev3.BindConfig{
		SocketOptions: []*corev3.SocketOption{{
			Description: "excluded from capture",
			Level:       solSocket,
			Name:        soMark,
			Value:       &corev3.SocketOption_IntValue{IntValue: int64(mark)},
			State:       corev3.SocketOption_STATE_PREBIND,
		}},
	}
}

// inboundListener takes all connections to a sidecar's app; the name is Istio's.
const inboundListener = "virtualInbound"

// lasting, in ms, is how long a call or a connection must be for the agent to
// count it and not Envoy, as the pilot's loggers ask.
const lasting = 1000

// runtime lets a regex be as long as Istio's API lets a user write it; what is
// too costly is refused by the pilot, which can name the object. A user's values
// win. The empty admin layer lets a person change a value in a running proxy.
func runtime(c Config) *bootstrapv3.LayeredRuntime {
	static := &structpb.Struct{Fields: map[string]*structpb.Value{
		"re2.max_program_size.error_level": structpb.NewNumberValue(32768),
		"weft.count.short_ms":              structpb.NewNumberValue(lasting - 1),
		"weft.count.long_ms":               structpb.NewNumberValue(lasting),
	}}
	if c.InboundLimit > 0 && c.Node.Role == node.Sidecar {
		static.Fields["envoy.resource_limits.listener."+inboundListener+".connection_limit"] = structpb.NewNumberValue(float64(c.InboundLimit))
	}
	for name, text := range c.Runtime {
		if static.Fields[name] = runtimeValue(text); text == "" {
			delete(static.GetFields(), name)
		}
	}
	return &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{
		{Name: "static", LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: static}},
		{Name: "admin", LayerSpecifier: &bootstrapv3.RuntimeLayer_AdminLayer_{AdminLayer: &bootstrapv3.RuntimeLayer_AdminLayer{}}},
	}}
}

// runtimeValue gives a text the kind it has in Envoy, which reads no number and no
// flag from a string. Source: envoyproxy/envoy#27434.
func runtimeValue(text string) *structpb.Value {
	if n, err := strconv.ParseFloat(text, 64); err == nil && !math.IsInf(n, 0) && !math.IsNaN(n) {
		return structpb.NewNumberValue(n)
	}
	if text == "true" || text == "false" {
		return structpb.NewBoolValue(text == "true")
	}
	return structpb.NewStringValue(text)
}

// memory gives freed pages back: 100 MiB at most a second. Measured with 100
// clusters and listeners: 125 MiB without, 78 MiB with it.
func memory() *bootstrapv3.MemoryAllocatorManager {
	return &bootstrapv3.MemoryAllocatorManager{
		BytesToRelease:        100 << 20,
		MemoryReleaseInterval: durationpb.New(time.Second),
	}
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// localAddresses are the pod's own addresses and loopback: what a port that
// others may read binds to, and nothing beyond.
func localAddresses(n node.Node) []netip.Addr {
	addrs := slices.Clone(n.IPs)
	if !slices.Contains(addrs, loopback) {
		addrs = append(addrs, loopback)
	}
	return addrs
}

func socketAddress(at netip.AddrPort) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       at.Addr().String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(at.Port())},
	}}}
}

func pipe(path string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
}

// pack wraps a message that this package has made itself; only a message that
// is not UTF-8 could fail, and ours are.
func pack(m proto.Message) *anypb.Any {
	out, err := anypb.New(m)
	if err != nil {
		panic("bootstrap: " + err.Error())
	}
	return out
}

func uint32Value(n uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(n) }
