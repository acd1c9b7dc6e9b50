package model

import "time"

// Tracer is what collects the spans of requests.
// Source: istio.io/api mesh/v1alpha1, MeshConfig.ExtensionProvider,
// opentelemetry and zipkin.
type Tracer struct {
	Name string
	Callee
	Protocol TraceProtocol
	Path     string // of HTTP, with its "/"; of gRPC empty
	// Timeout of one call; 0: none for gRPC.
	Timeout time.Duration
	Headers []Header // sent with each call, in order
	// MaxTag bounds the path in a span, in bytes; 0: Envoy's 256.
	MaxTag uint32
	// ShortIDs of 64 bits, not 128; of Zipkin.
	ShortIDs bool
	// W3C headers beside those of B3; of Zipkin. OpenTelemetry has only W3C's.
	W3C bool
}

// TraceProtocol is how spans are sent.
type TraceProtocol uint8

// The protocols that stock Envoy sends spans by.
const (
	OTLPGRPC TraceProtocol = iota
	OTLPHTTP
	Zipkin
)

// GRPC reports whether spans go by gRPC, so that the port must be HTTP/2.
func (p TraceProtocol) GRPC() bool { return p == OTLPGRPC }

// TraceRule is an entry of tracing.
type TraceRule struct {
	Sides Sides
	// Providers by name, of which the first counts; none: that of the level above.
	Providers []string
	Disabled  *bool // nil: as before
	Change    TraceChange
}

// TraceChange is what a rule or MeshConfig says of traces; nil: as before.
type TraceChange struct {
	Sampling      *float64 // percent of requests that nobody has decided on yet
	ByRequestID   *bool    // sampling follows X-Request-Id
	IstioTags     *bool
	NoPropagation *bool
	Tags          []TraceTag // sorted by name; replaces those before as a whole
	MaxTag        *uint32
}

// TraceTag is an attribute of a span.
type TraceTag struct {
	Name string
	From TagSource
	// Value is the text, the name of the variable or header, or the format.
	Value   string
	Default string // of a variable or header that is not there
}

// TagSource is where a TraceTag's value comes from.
type TagSource uint8

// The sources of tags.
// Source: istio.io/api telemetry/v1alpha1, Tracing.CustomTag.
const (
	TagLiteral TagSource = iota
	TagEnvironment
	TagHeader
	TagFormat
)

// Tracing is how the proxies of a class report spans.
type Tracing struct {
	Tracer  *Tracer
	Cluster string // by which the tracer is reached
	// Sampling in percent, of requests on which nobody has decided.
	Sampling      float64
	ByRequestID   bool
	IstioTags     bool
	NoPropagation bool
	Tags          []TraceTag // sorted by name
	MaxTag        uint32     // bytes of the path; 0: Envoy's default
}

// DefaultSampling is Istio's, in percent.
const DefaultSampling = 1.0

// Apply puts a change over what held before.
func (t *Tracing) Apply(c *TraceChange) {
	set(&t.Sampling, c.Sampling)
	set(&t.ByRequestID, c.ByRequestID)
	set(&t.IstioTags, c.IstioTags)
	set(&t.NoPropagation, c.NoPropagation)
	set(&t.MaxTag, c.MaxTag)
	if c.Tags != nil {
		t.Tags = c.Tags
	}
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}
