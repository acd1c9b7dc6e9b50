package model

import "time"

// Telemetry is one compiled Telemetry object: what the proxies that it selects
// tell of what passes them.
// Source: istio.io/api telemetry/v1alpha1, message Telemetry.
type Telemetry struct {
	Namespace, Name string
	Origin          Origin
	// Rank orders objects by age; the oldest of one level holds.
	Rank string
	// Selectors are labels, each one way to be meant; none: the whole namespace,
	// and in the root namespace the mesh.
	Selectors []map[string]string
	Logs      []LogRule
	Metrics   []MetricRule
	Traces    []TraceRule
}

// Key is "namespace/name".
func (t *Telemetry) Key() string { return t.Namespace + "/" + t.Name }

// Sides says for which direction of traffic, as the workload sees it, a rule is.
type Sides struct{ Client, Server bool }

// Both is every direction.
var Both = Sides{Client: true, Server: true}

// LogRule is an entry of accessLogging.
type LogRule struct {
	Sides Sides
	// Providers by name; none: those of the level above.
	Providers []string
	Disabled  bool
	// Filter is a CEL expression; empty: all is logged.
	Filter string
}

// MetricRule is an entry of metrics.
type MetricRule struct {
	// Providers by name; none: those of the level above.
	Providers []string
	Overrides []MetricOverride
	// Interval as in Reporting; 0: as before.
	Interval time.Duration
}

// MetricOverride changes metrics.
type MetricOverride struct {
	Sides Sides
	// Metrics are names such as "requests_total"; none: all.
	Metrics []string
	// Disabled; nil: as before.
	Disabled *bool
	Tags     []TagOverride // sorted by name
}

// TagOverride sets or removes a label of a metric.
type TagOverride struct {
	Name   string
	Remove bool
	Value  string // a CEL expression; empty if Remove
}

// LogProvider is where requests and connections can be logged.
// Source: istio.io/api mesh/v1alpha1, MeshConfig.ExtensionProvider.envoyFileAccessLog,
// envoyHttpAls, envoyTcpAls and envoyOtelAls.
type LogProvider struct {
	Name   string
	Path   string // of a file, or /dev/stdout, /dev/stderr; empty with a Collector
	Format LogFormat
	// Collector takes records over gRPC; nil: it is a file.
	Collector *LogCollector
}

// LogProtocol is what a collector of logs speaks.
type LogProtocol int

// The protocols of collectors, all over gRPC.
const (
	// OTLPLogs is OpenTelemetry. The provider's Format has the body in Text, and
	// the attributes in Labels.
	OTLPLogs LogProtocol = iota
	// HTTPLogs is Envoy's access log service, of requests alone.
	HTTPLogs
	// TCPLogs is the same of connections that are no HTTP.
	TCPLogs
)

// LogCollector is where records of logs go.
type LogCollector struct {
	Callee
	// Cluster is that of the proxy's bootstrap, instead of a Callee; empty: Callee.
	Cluster  string
	Protocol LogProtocol
	LogName  string
	// FilterState, of HTTPLogs and TCPLogs, names the objects of Envoy's that records
	// have; none: those that say who calls.
	FilterState []string
	// Headers and trailers, of HTTPLogs, that records have beside Envoy's own.
	RequestHeaders, ResponseHeaders, ResponseTrailers []string
}

// LogFormat is the form of a line. The zero value is Istio's default text.
type LogFormat struct {
	// Text is Envoy's format string, with a line end; empty: Istio's.
	Text string
	// JSON objects and not Text.
	JSON bool
	// Labels are the fields of JSON, themselves as a JSON object whose strings are
	// format strings; empty: Istio's.
	Labels string
	// OmitEmpty leaves out what has no value; else text has "-", and JSON null.
	OmitEmpty bool
}

// TelemetryDefaults is what MeshConfig says of logs, metrics and traces.
type TelemetryDefaults struct {
	// Providers of logs, by name, sorted.
	Providers []*LogProvider
	// Unnamed are in force where neither a Telemetry nor Logs name a provider:
	// accessLogFile, and the access log service of the proxies' bootstrap. Their names
	// are none that a provider could have; sorted.
	Unnamed []*LogProvider
	// Logs are the default providers' names.
	Logs []string
	// Meters are the names of providers of metrics for Prometheus.
	Meters []string
	// Metrics are the default providers' names.
	Metrics []string
	// Tracers by name, sorted.
	Tracers []*Tracer
	// Traces is the name of the default provider; empty: none.
	Traces string
	// Tracing is what defaultConfig says.
	Tracing TraceChange
}

// Tracer returns that of a name; nil: there is none.
func (d *TelemetryDefaults) Tracer(name string) *Tracer {
	for _, t := range d.Tracers {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Provider returns the provider of logs of a name, or one of Unnamed; nil: there
// is none.
func (d *TelemetryDefaults) Provider(name string) *LogProvider {
	for _, all := range [][]*LogProvider{d.Providers, d.Unnamed} {
		for _, p := range all {
			if p.Name == name {
				return p
			}
		}
	}
	return nil
}

// Reporting is what the proxies of a class tell, all levels merged.
type Reporting struct {
	Logs []AccessLog // sorted by provider
	// NoMetrics: none at all.
	NoMetrics bool
	// Metrics has those that differ from Istio's standard, by name.
	Metrics map[string]Metric
	// Interval is how often what lasts is counted before its end; 0:
	// DefaultInterval, negative: never.
	Interval time.Duration
	// Tracing is nil where no spans are reported.
	Tracing *Tracing
	// Origins are the Telemetries that it comes from, the widest first.
	Origins []Origin
}

// DefaultInterval is that of Istio's Metrics.reportingInterval.
const DefaultInterval = 5 * time.Second

// AccessLog is one log of a class.
type AccessLog struct {
	Provider *LogProvider
	Filter   string // a CEL expression; empty: all
	Cluster  string // by which the provider's Collector is reached
	// OfBootstrap: the cluster is not the pilot's to make.
	OfBootstrap bool
}

// Metric is how a metric differs from Istio's standard.
type Metric struct {
	Disabled bool
	Tags     []TagOverride // sorted by name
}

// StandardMetrics are the names of Istio's metrics, without "istio_", by the
// names that Telemetry has for them.
// Source: istio.io/api telemetry/v1alpha1, MetricSelector.IstioMetric.
var StandardMetrics = map[string]string{
	"REQUEST_COUNT":          "requests_total",
	"REQUEST_DURATION":       "request_duration_milliseconds",
	"REQUEST_SIZE":           "request_bytes",
	"RESPONSE_SIZE":          "response_bytes",
	"TCP_OPENED_CONNECTIONS": "tcp_connections_opened_total",
	"TCP_CLOSED_CONNECTIONS": "tcp_connections_closed_total",
	"TCP_SENT_BYTES":         "tcp_sent_bytes_total",
	"TCP_RECEIVED_BYTES":     "tcp_received_bytes_total",
	"GRPC_REQUEST_MESSAGES":  "request_messages_total",
	"GRPC_RESPONSE_MESSAGES": "response_messages_total",
}
