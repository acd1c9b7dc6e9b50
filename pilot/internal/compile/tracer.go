package compile

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
)

// The types of Istio's API, by shorter names.
type (
	otelTracer   = mesh.MeshConfig_ExtensionProvider_OpenTelemetryTracingProvider
	zipkinTracer = mesh.MeshConfig_ExtensionProvider_ZipkinTracingProvider
	tracerHeader = mesh.MeshConfig_ExtensionProvider_HttpHeader
)

const (
	// exportTimeout of a call over HTTP, which Envoy needs one for; Istio's.
	exportTimeout = 5 * time.Second
	zipkinPath    = "/api/v2/spans"
	otlpPath      = "/v1/traces"
)

// compileTracers reads the collectors of traces among extensionProviders. One
// of which a part cannot be read, and a second one of a name, is left out.
//
// Source: istio.io/api mesh/v1alpha1, message MeshConfig.ExtensionProvider.
func compileTracers(in []*mesh.MeshConfig_ExtensionProvider, d *diag.List) (out []*model.Tracer) {
	names := map[string]bool{}
	for i, p := range in {
		at := diag.Path("extensionProviders").Index(i)
		again := names[p.GetName()]
		names[p.GetName()] = true
		r := &tracerReader{d: d, out: &model.Tracer{Name: p.GetName()}}
		switch kind := p.GetProvider().(type) {
		case *mesh.MeshConfig_ExtensionProvider_Opentelemetry:
			r.otel(kind.Opentelemetry, at.Field("opentelemetry"))
		case *mesh.MeshConfig_ExtensionProvider_Zipkin:
			r.zipkin(kind.Zipkin, at.Field("zipkin"))
		default:
			continue
		}
		switch {
		case again:
			d.Add(diag.Duplicate, at.Field("name"), "another provider before it is called %q too; this one is not used", p.GetName())
		case !hostname.IsLabel(p.GetName()):
			d.Add(diag.Invalid, at.Field("name"), "%q: the name of a tracer has small letters, digits and -, at most 63", p.GetName())
		case !r.lost:
			out = append(out, r.out)
		}
	}
	slices.SortFunc(out, func(a, b *model.Tracer) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// tracerReader reads one collector.
type tracerReader struct {
	out  *model.Tracer
	d    *diag.List
	lost bool
}

// keep takes note of what a check said.
func (r *tracerReader) keep(ok bool) { r.lost = r.lost || !ok }

func (r *tracerReader) refuse(at diag.Path, format string, args ...any) {
	r.lost = true
	r.d.Add(diag.Invalid, at, format+"; it is not used", args...)
}

func (r *tracerReader) service(service string, port, maxTag uint32, at diag.Path) {
	callee, ok := compileCallee(service, port, at, r.d)
	r.keep(ok)
	r.out.Callee, r.out.MaxTag = callee, maxTag
}

func (r *tracerReader) otel(in *otelTracer, at diag.Path) {
	r.service(in.GetService(), in.GetPort(), in.GetMaxTagLength(), at)
	if in.GetSampling() != nil {
		r.refuse(at.Field("dynatraceSampler"), "it needs an account at Dynatrace, which nobody has tried here: choose the sampling by Telemetry")
	}
	if in.GetResourceDetectors().GetDynatrace() != nil {
		r.d.Add(diag.NoEffect, at.Field("resourceDetectors").Field("dynatrace"), "only the environment's attributes are read")
	}
	if h := in.GetHttp(); h != nil {
		r.out.Protocol = model.OTLPHTTP
		r.http(h.GetPath(), otlpPath, h.GetTimeout(), at.Field("http"))
		r.headers(h.GetHeaders(), at.Field("http").Field("headers"))
		return
	}
	r.timeout(in.GetGrpc().GetTimeout(), at.Field("grpc").Field("timeout"))
	r.headers(in.GetGrpc().GetInitialMetadata(), at.Field("grpc").Field("initialMetadata"))
}

func (r *tracerReader) zipkin(in *zipkinTracer, at diag.Path) {
	r.out.Protocol, r.out.ShortIDs = model.Zipkin, in.GetEnable_64BitTraceId()
	r.out.W3C = in.GetTraceContextOption() == mesh.MeshConfig_ExtensionProvider_ZipkinTracingProvider_USE_B3_WITH_W3C_PROPAGATION
	r.service(in.GetService(), in.GetPort(), in.GetMaxTagLength(), at)
	r.http(in.GetPath(), zipkinPath, in.GetTimeout(), at)
	r.headers(in.GetHeaders(), at.Field("headers"))
}

func (r *tracerReader) http(path, standard string, timeout *durationpb.Duration, at diag.Path) {
	r.out.Timeout = exportTimeout
	r.timeout(timeout, at.Field("timeout"))
	if r.out.Path = path; path == "" {
		r.out.Path = standard
	}
	if r.keep(checkText(path, at.Field("path"), r.d)); r.out.Path[0] != '/' {
		r.out.Path = "/" + r.out.Path
	}
}

func (r *tracerReader) timeout(in *durationpb.Duration, at diag.Path) {
	if v, ok := callTimeout(in, at, r.d); ok {
		r.out.Timeout = v
	} else if in != nil {
		r.lost = true
	}
}

// maxCallTimeout bounds the time for a call: Envoy refuses 2^32 s over HTTP.
// Source: envoy.config.core.v3.HttpUri.timeout.
const maxCallTimeout = 1193046 * time.Hour

// callTimeout reads the time for a call of a proxy's own.
func callTimeout(in *durationpb.Duration, at diag.Path, d *diag.List) (time.Duration, bool) {
	v, ok := positive(in, at, d)
	if ok && v >= maxCallTimeout {
		d.Add(diag.Invalid, at, "must be less than %v, got %v", maxCallTimeout, v)
		return 0, false
	}
	return v, ok
}

func (r *tracerReader) headers(in []*tracerHeader, at diag.Path) {
	for i, h := range in {
		at := at.Index(i)
		if _, ok := h.GetHeaderValue().(*mesh.MeshConfig_ExtensionProvider_HttpHeader_EnvName); ok {
			r.refuse(at.Field("envName"), "the pilot gives no proxy of its environment: write a value")
			continue
		}
		if strings.HasPrefix(h.GetName(), ":") || strings.EqualFold(h.GetName(), "host") {
			r.refuse(at.Field("name"), "header %q cannot be changed here", h.GetName())
			continue
		}
		if r.out.Protocol.GRPC() && strings.Contains(h.GetValue(), "%") {
			// Seen: Envoy checks it as a format, and sends it as it stands.
			r.refuse(at.Field("value"), "Envoy cannot send %% in a header of gRPC")
			continue
		}
		sent := h.GetValue()
		if !r.out.Protocol.GRPC() {
			sent = strings.ReplaceAll(sent, "%", "%%") // so Envoy gets it, and counts it
		}
		r.keep(checkHeaderName(h.GetName(), at.Field("name"), r.d) && checkHeaderValue(sent, at.Field("value"), r.d))
		r.out.Headers = append(r.out.Headers, model.Header{Name: h.GetName(), Value: h.GetValue()})
	}
}

// compileCallee reads a service that proxies call of their own.
func compileCallee(service string, port uint32, at diag.Path, d *diag.List) (model.Callee, bool) {
	namespace, host, named := strings.Cut(service, "/")
	if !named {
		namespace, host = "", service
	} else if !hostname.IsLabel(namespace) {
		d.Add(diag.Invalid, at.Field("service"), "%q is not [NAMESPACE/]HOST", service)
		return model.Callee{}, false
	}
	ok := checkHost(host, at.Field("service"), d) && checkPort(port, at.Field("port"), d)
	return model.Callee{Namespace: namespace, Host: host, Port: port}, ok
}
