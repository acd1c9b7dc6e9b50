package translate

import (
	"slices"

	xcore "github.com/cncf/xds/go/xds/core/v3"
	xmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	logdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	stats "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stats/v3"
	filterstate "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	setfilterstate "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	tcp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	transform "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/actions/transform_stat/v3"
	statinput "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/stats/v3"
	xtype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// Istio's standard metrics, made by stock Envoy's stats access logger: the
// agent drops Envoy's prefix and writes "unknown" for an empty label. Labels
// that differ by workload come from the proxy's environment, so that they
// split no class. Source: Istio's "Standard Metrics" page.

// telemetrySpace is the filter metadata of endpoints and clusters that the
// labels of the other side are read from.
const telemetrySpace = "weft"

// side is who is told apart by the labels of one filter chain's metrics.
type side struct {
	reporter, security string
	source, target     peer
	service            []*stats.Config_Tag
	// wire, where the other side proves nothing to a server: what it speaks.
	wire string
}

// peer holds the formats of the labels of one end.
type peer struct{ workload, namespace, app, version, principal, cluster string }

// nobody is an end that proved nothing.
var nobody = peer{workload: "unknown", namespace: "unknown", app: "unknown", version: "unknown", principal: "unknown", cluster: "unknown"}

// self is the proxy's own workload, as the agent names it to Envoy.
var self = peer{
	workload: "%ENVIRONMENT(WEFT_WORKLOAD)%", namespace: "%ENVIRONMENT(WEFT_NAMESPACE)%", principal: "%ENVIRONMENT(WEFT_PRINCIPAL)%",
	app: "%ENVIRONMENT(WEFT_CANONICAL_SERVICE)%", version: "%ENVIRONMENT(WEFT_CANONICAL_REVISION)%", cluster: "%ENVIRONMENT(WEFT_CLUSTER)%",
}

// upstream is the endpoint that was called, as endpointMetadata names it; its
// principal is what its certificate proved.
var upstream = peer{
	workload: hostLabel("wl"), namespace: hostLabel("ns"), app: hostLabel("app"), version: hostLabel("ver"), cluster: hostLabel("cl"),
	principal: "%UPSTREAM_PEER_URI_SAN%",
}

// caller is the client as its certificate names it. A CA signs for one
// cluster, which is also this one.
var caller = peer{
	workload: callerLabel("wl"), namespace: callerLabel("ns"), app: callerLabel("app"), version: callerLabel("ver"),
	principal: "%DOWNSTREAM_PEER_URI_SAN%", cluster: self.cluster,
}

func hostLabel(key string) string {
	return "%METADATA(UPSTREAM_HOST:" + telemetrySpace + ":" + key + ")%"
}
func callerLabel(key string) string { return "%FILTER_STATE(" + callerState(key) + ":PLAIN)%" }
func callerState(key string) string { return telemetrySpace + ".caller." + key }

// clientSide counts what this proxy's app, or a gateway, asks of others.
func clientSide() side {
	return side{reporter: "source", security: "unknown", source: self, target: upstream, service: serviceTags(
		called("host", inHost(hostOf)), called("name", inHost(nameOf), inHost(hostOf), refused), called("ns", inHost(namespaceOf)))}
}

// called is a label of the service that was asked for: that of the cluster
// that got the request, else the first of these readings that holds. So a
// request that reaches no cluster, for want of a route or of the cluster or
// because the proxy answers it, is still counted as one to that service.
// Source: "%COALESCE%" and "%CEL%" of Envoy's documentation.
func called(key string, readings ...reading) string {
	out := `%COALESCE({"operators":[{"command":"METADATA","param":"CLUSTER:` + telemetrySpace + ":" + key + `"}`
	for _, r := range readings {
		out += `,{"command":"CEL","param":"re.extract(xds.` + r.attribute + `,'` + r.expression + `','` + r.as + `')"}`
	}
	return out + "]})%"
}

// reading is what an expression finds in an attribute of the request.
type reading struct{ attribute, expression, as string }

func inHost(expression string) reading { return reading{"virtual_host_name", expression, `\\\\1`} }

// refused is a request to what the mesh does not know, answered by the route of
// REGISTRY_ONLY. Source: Istio's "Monitoring Blocked and Passthrough External
// Service Traffic".
var refused = reading{"route_name", "^block_all$", blackHoleCluster}

// What a virtual host's name, "TABLE/HOST:PORT", says; the host may be that of
// a Kubernetes Service.
const (
	hostOf      = "^[^/]*/(.+):[0-9]+$"
	nameOf      = "^[^/]*/([^./]+)[.][^./]+[.]svc[.]"
	namespaceOf = "^[^/]*/[^./]+[.]([^./]+)[.]svc[.]"
)

// serverSide counts what others ask of this proxy's app; mesh says whether
// they come by mesh mTLS.
func serverSide(p model.InboundPort, mesh bool) side {
	s := side{reporter: "destination", security: "none", source: nobody, target: self, wire: wirePlain}
	switch {
	case p.Service != nil:
		s.service = serviceTags(p.Service.Host, p.Service.Name, p.Service.Namespace)
	case p.Cluster == blackHoleCluster:
		s.service = serviceTags("unknown", blackHoleCluster, self.namespace)
	default:
		s.service = serviceTags("unknown", inboundPassthroughCluster, self.namespace)
	}
	if mesh {
		s.security, s.source, s.wire = "mutual_tls", caller, ""
	}
	return s
}

// telemetryMetadata names the service of a cluster.
func telemetryMetadata(host, name, namespace string) *core.Metadata {
	return metadata(func(e *encoder) { e.telemetry(host, name, namespace) })
}

func (e *encoder) telemetry(host, name, namespace string) {
	e.space(telemetrySpace, func() { e.say("host", host, "name", name, "ns", namespace) })
}

func serviceTags(host, name, namespace string) []*stats.Config_Tag {
	return []*stats.Config_Tag{tag("destination_service", host), tag("destination_service_name", name), tag("destination_service_namespace", namespace)}
}

func tag(name, format string) *stats.Config_Tag {
	return &stats.Config_Tag{Name: name, ValueFormat: format}
}

// tags are those of every metric but those of messages.
func (s side) tags() []*stats.Config_Tag {
	return append(s.ends(), tag("response_flags", "%RESPONSE_FLAGS%"), tag("connection_security_policy", s.security))
}

// ends are the labels of who calls whom.
func (s side) ends() []*stats.Config_Tag {
	out := append([]*stats.Config_Tag{tag("reporter", s.reporter)}, s.source.tags("source_")...)
	return append(append(out, s.target.tags("destination_")...), s.service...)
}

// tags are Istio's names. App and version stand for the canonical ones too:
// only those are attested.
func (p peer) tags(prefix string) []*stats.Config_Tag {
	return []*stats.Config_Tag{
		tag(prefix+"workload", p.workload), tag(prefix+"workload_namespace", p.namespace), tag(prefix+"principal", p.principal),
		tag(prefix+"app", p.app), tag(prefix+"version", p.version),
		tag(prefix+"canonical_service", p.app), tag(prefix+"canonical_revision", p.version), tag(prefix+"cluster", p.cluster),
	}
}

// httpMetrics counts requests when they end.
func (b *builder) httpMetrics(s side) []*accesslog.AccessLog {
	tags := append(s.tags(), requestProtocol(), tag("response_code", "%RESPONSE_CODE%"), tag("grpc_response_status", "%GRPC_STATUS_NUMBER%"))
	ended := at(logdata.AccessLogType_DownstreamEnd)
	out := b.metrics(ended, tags,
		metric{name: "requests_total"},
		metric{name: "request_duration_milliseconds", format: "%DURATION%", unit: stats.Config_Histogram_Milliseconds},
		metric{name: "request_bytes", format: "%DOWNSTREAM_WIRE_BYTES_RECEIVED%", unit: stats.Config_Histogram_Bytes},
		metric{name: "response_bytes", format: "%DOWNSTREAM_WIRE_BYTES_SENT%", unit: stats.Config_Histogram_Bytes},
	)
	if s.wire != "" {
		out = append(out, b.plainCallers(s, ended, logdata.AccessLogType_DownstreamEnd))
	}
	return append(out, b.messages(s)...)
}

// requestProtocol is "grpc" or "http": Kiali ignores every other value.
func requestProtocol() *stats.Config_Tag {
	set := func(value string) onMatch {
		return &xmatcher.Matcher_OnMatch{OnMatch: &xmatcher.Matcher_OnMatch_Action{Action: &xcore.TypedExtensionConfig{
			Name: value, TypedConfig: packed(&transform.TransformStat{UpdateTag: &transform.TransformStat_UpdateTag{NewTagValue: value}}),
		}}}
	}
	out := tag("request_protocol", "%REQ(CONTENT-TYPE)%")
	out.Rules = &xmatcher.Matcher{OnNoMatch: set("http"), MatcherType: tree(&xmatcher.Matcher_MatcherTree{
		Input: input("value", &statinput.StatTagValueInput{}), TreeType: &xmatcher.Matcher_MatcherTree_PrefixMatchMap{
			PrefixMatchMap: &xmatcher.Matcher_MatcherTree_MatchMap{Map: map[string]onMatch{"application/grpc": set("grpc")}},
		},
	})}
	return out
}

// tcpMetrics counts connections: opened when the app or the other proxy is
// reached, or cannot be, closed at the end.
func (b *builder) tcpMetrics(s side) []*accesslog.AccessLog {
	tags := s.tags()
	ended := at(logdata.AccessLogType_TcpConnectionEnd)
	failed := &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_ResponseFlagFilter{
		ResponseFlagFilter: &accesslog.ResponseFlagFilter{Flags: []string{"UH", "UF", "UO", "NR", "NC"}},
	}}
	opened := either(at(logdata.AccessLogType_TcpUpstreamConnected), both(ended, failed))
	out := b.metrics(opened, tags, metric{name: "tcp_connections_opened_total"})
	out = append(out, b.metrics(ended, tags, metric{name: "tcp_connections_closed_total"})...)
	out = append(out, b.bytes(tags)...)
	if s.wire != "" {
		out = append(out, b.plainCallers(s, opened, logdata.AccessLogType_TcpUpstreamConnected, logdata.AccessLogType_TcpConnectionEnd))
	}
	return out
}

// metric is one of Istio's, by its name without "istio_". It counts, or adds
// up what format gives, or with a unit is a histogram of that.
type metric struct {
	name, format string
	unit         stats.Config_Histogram_Unit
}

// metrics logs into metrics below Istio's prefix, as Telemetries have changed
// them; none if they have taken all away.
// Source: envoy.extensions.access_loggers.stats.v3.Config.
func (b *builder) metrics(when *accesslog.AccessLogFilter, tags []*stats.Config_Tag, all ...metric) []*accesslog.AccessLog {
	told := b.reporting()
	config := &stats.Config{StatsScope: &xtype.Scope{Prefix: "istio"}}
	for _, m := range all {
		own := told.Metrics[m.name]
		if own.Disabled || told.NoMetrics {
			continue
		}
		stat := &stats.Config_Stat{Name: m.name, Tags: overridden(tags, own.Tags)}
		switch {
		case m.unit != stats.Config_Histogram_Unspecified:
			config.Histograms = append(config.Histograms, &stats.Config_Histogram{Stat: stat, Unit: m.unit, ValueFormat: m.format})
		case m.format != "":
			config.Counters = append(config.Counters, &stats.Config_Counter{Stat: stat, ValueFormat: m.format})
		default:
			config.Counters = append(config.Counters, &stats.Config_Counter{Stat: stat, ValueFixed: wrapperspb.UInt64(1)})
		}
	}
	if len(config.GetCounters())+len(config.GetHistograms()) == 0 {
		return nil
	}
	return []*accesslog.AccessLog{b.statsLog(when, config)}
}

const statsLogger = "envoy.access_loggers.stats"

// statsLog counts what passes a filter; nil: everything.
func (b *builder) statsLog(when *accesslog.AccessLogFilter, config *stats.Config) *accesslog.AccessLog {
	return &accesslog.AccessLog{Name: statsLogger, Filter: when, ConfigType: &accesslog.AccessLog_TypedConfig{TypedConfig: b.pack(config)}}
}

// overridden are tags after a Telemetry has changed them; new ones come last.
func overridden(tags []*stats.Config_Tag, changes []model.TagOverride) []*stats.Config_Tag {
	if len(changes) == 0 {
		return tags
	}
	out := slices.Clone(tags)
	for _, c := range changes {
		at := slices.IndexFunc(out, func(t *stats.Config_Tag) bool { return t.GetName() == c.Name })
		value := tag(c.Name, "%CEL("+c.Value+")%")
		switch {
		case c.Remove && at >= 0:
			out = slices.Delete(out, at, at+1)
		case c.Remove:
		case at >= 0:
			out[at] = value
		default:
			out = append(out, value)
		}
	}
	return out
}

func at(types ...logdata.AccessLogType) *accesslog.AccessLogFilter {
	return &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_LogTypeFilter{LogTypeFilter: &accesslog.LogTypeFilter{Types: types}}}
}

func both(filters ...*accesslog.AccessLogFilter) *accesslog.AccessLogFilter {
	return &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_AndFilter{AndFilter: &accesslog.AndFilter{Filters: filters}}}
}

func either(filters ...*accesslog.AccessLogFilter) *accesslog.AccessLogFilter {
	return &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_OrFilter{OrFilter: &accesslog.OrFilter{Filters: filters}}}
}

// count makes a TCP proxy report its connections. By mesh mTLS it waits for
// the caller's certificate before it connects: the caller's labels are there
// then, and a refused caller never reaches the app.
func (b *builder) count(p *tcp.TcpProxy, s side) {
	p.AccessLog = append(append(p.AccessLog, b.tcpMetrics(s)...), b.tcpTap(s))
	p.AccessLogOptions = &tcp.TcpProxy_TcpAccessLogOptions{FlushAccessLogOnConnected: true, AccessLogFlushInterval: b.interval(tcpBytes)}
	if s.security == "mutual_tls" {
		p.UpstreamConnectMode = tcp.UpstreamConnectMode_ON_DOWNSTREAM_TLS_HANDSHAKE
		p.MaxEarlyDataBytes = wrapperspb.UInt32(0)
	}
}

// callerKeys are what the CA writes of a caller: its workload, namespace, app and
// version.
var callerKeys = [...]string{"wl", "ns", "app", "ver"}

// readCaller keeps, once a connection, the labels that the CA wrote into the
// caller's certificate as organizational units.
func (b *builder) readCaller() *listener.Filter {
	config := &setfilterstate.Config{}
	for _, key := range callerKeys {
		config.OnDownstreamTlsHandshake = append(config.OnDownstreamTlsHandshake, &filterstate.FilterStateValue{
			Key: &filterstate.FilterStateValue_ObjectKey{ObjectKey: callerState(key)}, FactoryKey: "envoy.string", SkipIfEmpty: true,
			Value: &filterstate.FilterStateValue_FormatString{FormatString: &core.SubstitutionFormatString{
				OmitEmptyValues: true,
				Format: &core.SubstitutionFormatString_TextFormatSource{TextFormatSource: &core.DataSource{Specifier: &core.DataSource_InlineString{
					InlineString: `%CEL(re.extract(connection.subject_peer_certificate,'OU=` + key + `:([^,+]+)','\\1'))%`,
				}}},
			}},
		})
	}
	return b.filter("envoy.filters.network.set_filter_state", config)
}
