package bootstrap

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/agent/node"
)

// Clusters of services that Envoy is told of at its start, by Istio's names. The
// pilot refers to LogCluster.
const (
	LogCluster    = "envoy_accesslog_service"
	metricCluster = "envoy_metrics_service"
)

// Remote is a service of gRPC that Envoy calls by an address of its own, outside of
// what the pilot knows.
// Source: istio.io/api mesh/v1alpha1, message RemoteService.
type Remote struct {
	Host      string // an address, or a name that Envoy's DNS knows
	Port      uint16
	TLS       *RemoteTLS // nil: plaintext
	Keepalive *Keepalive // nil: the system's
	// MaxStream ends a stream after a time; 0: it never does. It bounds what a service
	// that takes nothing may hold of Envoy's memory, where Envoy itself has no bound.
	MaxStream time.Duration
}

// RemoteTLS is how a Remote is proven, and what is shown to it.
type RemoteTLS struct {
	Mesh             bool   // the workload's own certificate and the mesh's roots
	CA               string // file of roots; "": the system's, and without Names the host's own
	Certificate, Key string // files to show; "": none
	Insecure         bool   // whoever answers is believed
	SNI              string
	Names            []string // one must be in its certificate; none: any that the mesh's roots or CA signed
}

// Keepalive is TCP's; zero fields are the system's.
type Keepalive struct {
	Probes         uint32
	Time, Interval time.Duration
}

// remotes are the clusters of what c says.
func remotes(c Config) (out []*clusterv3.Cluster) {
	if c.AccessLogs != nil {
		out = append(out, remoteCluster(LogCluster, c.AccessLogs, c.Node))
	}
	if c.Metrics != nil {
		out = append(out, remoteCluster(metricCluster, c.Metrics, c.Node))
	}
	return out
}

func remoteCluster(name string, r *Remote, n node.Node) *clusterv3.Cluster {
	address := &corev3.SocketAddress{Address: r.Host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(r.Port)}}
	out := http2Cluster(name, &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: address}})
	if _, err := netip.ParseAddr(r.Host); err != nil {
		out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
		out.WaitForWarmOnInit = wrapperspb.Bool(false)  // no DNS server that is silent keeps the proxy from its start
		if slices.ContainsFunc(n.IPs, netip.Addr.Is4) { // by itself Envoy takes IPv6 first
			out.DnsLookupFamily = clusterv3.Cluster_V4_PREFERRED
		}
	}
	if k := r.Keepalive; k != nil {
		out.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: k.proto()}
	}
	if r.TLS != nil {
		out.TransportSocket = &corev3.TransportSocket{Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(r.TLS.proto(r.Host))}}
	}
	if r.MaxStream > 0 {
		options := &httpv3.HttpProtocolOptions{}
		if out.GetTypedExtensionProtocolOptions()[httpOptions].UnmarshalTo(options) == nil {
			options.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{MaxStreamDuration: durationpb.New(r.MaxStream)}
			out.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptions: pack(options)}
		}
	}
	return out
}

func (k *Keepalive) proto() *corev3.TcpKeepalive {
	out := &corev3.TcpKeepalive{}
	if k.Probes > 0 {
		out.KeepaliveProbes = uint32Value(k.Probes)
	}
	if k.Time > 0 {
		out.KeepaliveTime = uint32Value(seconds(k.Time))
	}
	if k.Interval > 0 {
		out.KeepaliveInterval = uint32Value(seconds(k.Interval))
	}
	return out
}

// seconds rounds up: Linux knows no less.
func seconds(d time.Duration) uint32 { return uint32((d + time.Second - 1) / time.Second) }

// systemCAs is where the image has the system's roots.
const systemCAs = "/etc/ssl/certs/ca-certificates.crt"

// Files are those that Envoy reads as it starts: it does not, where one lacks.
func (t *RemoteTLS) Files() (out []string) {
	if ca := cmp.Or(t.CA, systemCAs); !t.Mesh && !t.Insecure {
		out = append(out, ca)
	}
	if t.Certificate != "" {
		out = append(out, t.Certificate, t.Key)
	}
	return out
}

// named are the names of which one must be in the certificate of host, and the SNI.
// Anybody can have a certificate of the system's roots: it must be for the host then.
func (t *RemoteTLS) named(host string) (names []string, sni string) {
	names, sni = t.Names, t.SNI
	if _, err := netip.ParseAddr(host); err != nil && !t.Mesh {
		sni = cmp.Or(sni, host)
	}
	if !t.Mesh && !t.Insecure && t.CA == "" && len(names) == 0 {
		names = []string{cmp.Or(sni, host)}
	}
	return names, sni
}

func (t *RemoteTLS) proto(host string) *tlsv3.UpstreamTlsContext {
	checks := &tlsv3.CertificateValidationContext{}
	names, sni := t.named(host)
	for _, name := range names {
		for _, kind := range []tlsv3.SubjectAltNameMatcher_SanType{tlsv3.SubjectAltNameMatcher_DNS, tlsv3.SubjectAltNameMatcher_URI, tlsv3.SubjectAltNameMatcher_IP_ADDRESS} {
			checks.MatchTypedSubjectAltNames = append(checks.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{
				SanType: kind, Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name}}})
		}
	}
	common := &tlsv3.CommonTlsContext{AlpnProtocols: []string{"h2"}}
	switch {
	case t.Mesh:
		common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{fromAgent("default")}
		common.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext: checks, ValidationContextSdsSecretConfig: fromAgent("ROOTCA")}}
	case !t.Insecure:
		checks.TrustedCa = file(cmp.Or(t.CA, systemCAs))
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: checks}
	}
	if t.Certificate != "" {
		common.TlsCertificates = []*tlsv3.TlsCertificate{{CertificateChain: file(t.Certificate), PrivateKey: file(t.Key)}}
	}
	return &tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: sni}
}

func file(path string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
}

// fromAgent asks the agent for a secret, as the pilot has clusters do.
func fromAgent(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3, InitialFetchTimeout: durationpb.New(0),
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3, SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{grpcService(SDSCluster)},
		}},
	}}
}

// sinks are where Envoy tells its statistics of its own accord: those that it keeps.
func sinks(c Config) (out []*metricsv3.StatsSink) {
	if c.Metrics != nil {
		config := &metricsv3.MetricsServiceConfig{GrpcService: grpcService(metricCluster), TransportApiVersion: corev3.ApiVersion_V3}
		out = append(out, &metricsv3.StatsSink{Name: "envoy.stat_sinks.metrics_service", ConfigType: &metricsv3.StatsSink_TypedConfig{TypedConfig: pack(config)}})
	}
	if c.Statsd.IsValid() {
		config := &metricsv3.StatsdSink{StatsdSpecifier: &metricsv3.StatsdSink_Address{Address: socketAddress(c.Statsd)}}
		out = append(out, &metricsv3.StatsSink{Name: "envoy.stat_sinks.statsd", ConfigType: &metricsv3.StatsSink_TypedConfig{TypedConfig: pack(config)}})
	}
	return out
}
