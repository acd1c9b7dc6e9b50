package compile

import (
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"

	mesh "istio.io/api/mesh/v1alpha1"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// traceRule reads an entry of a Telemetry's tracing.
// Source: istio.io/api telemetry/v1alpha1, message Tracing.
func traceRule(in *telemetry.Tracing, defaults *model.TelemetryDefaults, at diag.Path, d *diag.List) model.TraceRule {
	out := model.TraceRule{Sides: sides(in.GetMatch().GetMode()), Disabled: boolOf(in.GetDisableSpanReporting())}
	out.Providers = providers(in.GetProviders(), at, d, func(name string) bool { return defaults.Tracer(name) != nil })
	if len(out.Providers) > 1 {
		d.Add(diag.NoEffect, at.Field("providers").Index(1), "spans go to one provider; the first is in force")
	}
	out.Change = model.TraceChange{
		ByRequestID: boolOf(in.GetUseRequestIdForTraceSampling()), IstioTags: boolOf(in.GetEnableIstioTags()), NoPropagation: boolOf(in.GetDisableContextPropagation()),
		Tags: traceTags(in.GetCustomTags(), at.Field("customTags"), d),
	}
	if s := in.GetRandomSamplingPercentage(); s != nil && checkPercent(s.GetValue(), at.Field("randomSamplingPercentage"), d) {
		v := s.GetValue()
		out.Change.Sampling = &v
	}
	return out
}

func checkPercent(v float64, at diag.Path, d *diag.List) bool {
	if math.IsNaN(v) || v < 0 || v > 100 {
		d.Add(diag.Invalid, at, "must be 0 to 100 percent, got %v; it is as if it were not set", v)
		return false
	}
	return true
}

// traceTags reads attributes of spans; nil where there are none to read. One
// that Envoy would refuse is left out.
func traceTags(in map[string]*telemetry.Tracing_CustomTag, at diag.Path, d *diag.List) (out []model.TraceTag) {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		at := at.Key(name)
		if tag, ok := traceTag(name, in[name], at, d); ok && checkText(name, at, d) {
			out = append(out, tag)
		}
	}
	return out
}

// traceTag reads one attribute; false: it cannot be used.
// Source: envoy.type.tracing.v3.CustomTag and its limits.
func traceTag(name string, in *telemetry.Tracing_CustomTag, at diag.Path, d *diag.List) (out model.TraceTag, ok bool) {
	out, ok = model.TraceTag{Name: name}, true
	switch t := in.GetType().(type) {
	case *telemetry.Tracing_CustomTag_Literal:
		out.Value, at = t.Literal.GetValue(), at.Field("literal").Field("value")
	case *telemetry.Tracing_CustomTag_Environment:
		out.From, out.Value, out.Default, at = model.TagEnvironment, t.Environment.GetName(), t.Environment.GetDefaultValue(), at.Field("environment").Field("name")
	case *telemetry.Tracing_CustomTag_Header:
		out.From, out.Value, out.Default, at = model.TagHeader, t.Header.GetName(), t.Header.GetDefaultValue(), at.Field("header").Field("name")
		ok = out.Value == "" || checkHeaderName(out.Value, at, d)
	case *telemetry.Tracing_CustomTag_Formatter:
		out.From, out.Value, at = model.TagFormat, t.Formatter.GetValue(), at.Field("formatter").Field("value")
		ok = checkLogFormat(out.Value, at, d)
	}
	if name == "" || out.Value == "" {
		d.Add(diag.Invalid, at, "a tag needs a name and a value; it is left out")
		return out, false
	}
	return out, ok
}

// checkTracers reports tracers that no proxy can call.
func checkTracers(t *model.Telemetry, in scope, d *diag.List) {
	for i, rule := range t.Traces {
		if len(rule.Providers) == 0 {
			continue
		}
		tracer := in.settings().Telemetry.Tracer(rule.Providers[0])
		if tracer == nil {
			continue // which is reported
		}
		checkTracer(tracer, in.serviceOfKey, diag.Path("spec.tracing").Index(i).Field("providers").Index(0).Field("name"), d)
	}
}

// checkTracer reports a tracer that no proxy can call.
func checkTracer(tracer *model.Tracer, services servicesByKey, at diag.Path, d *diag.List) {
	if why := whyNotCalled(tracer.Callee, services); why != "" {
		d.Add(diag.NoProvider, at, "tracer %q: %s; there are no spans", tracer.Name, why)
	}
}

// checkLogCollectors reports collectors of logs that no proxy can call.
func checkLogCollectors(t *model.Telemetry, in scope, d *diag.List) {
	for i, rule := range t.Logs {
		for j, name := range rule.Providers {
			at := diag.Path("spec.accessLogging").Index(i).Field("providers").Index(j).Field("name")
			checkLogCollector(in.settings().Telemetry.Provider(name), in.serviceOfKey, at, d)
		}
	}
}

func checkLogCollector(p *model.LogProvider, services servicesByKey, at diag.Path, d *diag.List) {
	if p == nil || p.Collector == nil {
		return
	}
	if why := whyNotCalled(p.Collector.Callee, services); why != "" {
		d.Add(diag.NoProvider, at, "collector of logs %q: %s; nothing is logged there", p.Name, why)
	}
}

// whyNotCalled is empty for a service that proxies can call of their own.
func whyNotCalled(c model.Callee, services servicesByKey) string {
	s := c.Find(services)
	if s == nil {
		return whyNoService(c, services)
	}
	if _, ok := c.Reaches(s); !ok {
		return fmt.Sprintf("proxies cannot call port %d of service %s of their own", c.Port, c.Host)
	}
	return ""
}

// checkDefaultCollectors adds to what is said of MeshConfig whether its own tracer
// and collectors of logs can be called: services are not known yet where it is read.
func (c *Compiler) checkDefaultCollectors(objects memo.Table[*config.Object], said memo.Table[*Findings]) memo.Table[*Findings] {
	o, ok := meshConfig(objects)
	name := c.meshed.Telemetry.Traces
	if !ok {
		return said
	}
	d, services := diag.For(o.Ref()), c.services.Table().Get
	in, _ := o.Spec.(*mesh.MeshConfig)
	for i, name := range in.GetDefaultProviders().GetAccessLogging() {
		checkLogCollector(c.meshed.Telemetry.Provider(name), services, diag.Path("defaultProviders.accessLogging").Index(i), d)
	}
	at := diag.Path("defaultConfig.tracing.zipkin.address")
	if in != nil && name != ofProxyConfig {
		at = diag.Path("defaultProviders.tracing").Index(slices.Index(in.GetDefaultProviders().GetTracing(), name))
	}
	if name != "" {
		checkTracer(c.meshed.Telemetry.Tracer(name), services, at, d)
	}
	if len(d.All()) == 0 {
		return said
	}
	key, list := string(o.Kind)+"/"+o.Key(), d.All()
	if f, ok := said.Get(key); ok {
		list = slices.Concat(f.List, list)
	}
	return said.With(key, &Findings{Object: o.Ref(), List: list})
}

// compileTraces reads what MeshConfig says of traces.
// Source: istio.io/api mesh/v1alpha1, MeshConfig.enableTracing,
// extensionProviders, defaultProviders.tracing; ProxyConfig.tracing.
func compileTraces(in *mesh.MeshConfig, settings *model.Settings, d *diag.List) {
	out := &settings.Telemetry
	out.Tracers = compileTracers(in.GetExtensionProviders(), d)
	of, at := in.GetDefaultConfig().GetTracing(), diag.Path("defaultConfig.tracing")
	out.Tracing = model.TraceChange{IstioTags: boolOf(of.GetEnableIstioTags()), Tags: traceTags(proxyTags(of.GetCustomTags()), at.Field("customTags"), d)}
	if s := of.GetSampling(); s != 0 && checkPercent(s, at.Field("sampling"), d) {
		out.Tracing.Sampling = &s
	}
	if n := of.GetMaxPathTagLength(); n != 0 {
		out.Tracing.MaxTag = &n
	}
	for i, name := range in.GetDefaultProviders().GetTracing() {
		at := diag.Path("defaultProviders.tracing").Index(i)
		switch {
		case out.Tracer(name) == nil:
			d.Add(diag.NoProvider, at, "there is no provider of traces %q", name)
		case out.Traces != "":
			d.Add(diag.NoEffect, at, "spans go to one provider; %q is in force", out.Traces)
		default:
			out.Traces = name
		}
	}
	if out.Traces == "" && in.GetEnableTracing() {
		ownZipkin(of, settings, d)
	}
}

// ofProxyConfig names the tracer of defaultConfig: no provider can be named so,
// since their names are in lower case.
const ofProxyConfig = "defaultConfig"

// ownZipkin is the old way to name a Zipkin for the mesh. Names of services may
// be short there, as in a pod of the root namespace.
func ownZipkin(in *mesh.Tracing, settings *model.Settings, d *diag.List) {
	const at = diag.Path("defaultConfig.tracing.zipkin.address")
	host, portText, err := net.SplitHostPort(in.GetZipkin().GetAddress())
	port, notNumber := strconv.ParseUint(portText, 10, 16)
	switch {
	case in.GetZipkin() == nil:
		d.Add(diag.NoProvider, "enableTracing", "there is no tracer: name one in defaultProviders.tracing")
		return
	case err != nil || notNumber != nil:
		d.Add(diag.Invalid, at, "%q is not HOST:PORT; there are no traces", in.GetZipkin().GetAddress())
		return
	}
	switch labels := strings.Split(host, "."); {
	case len(labels) == 1:
		host = hostname.Service(host, settings.RootNamespace, settings.ClusterDomain)
	case len(labels) == 2 || len(labels) == 3 && labels[2] == "svc":
		host = hostname.Service(labels[0], labels[1], settings.ClusterDomain)
	}
	if checkHost(host, at, d) && checkPort(uint32(port), at, d) {
		settings.Telemetry.Traces = ofProxyConfig
		settings.Telemetry.Tracers = slices.Insert(settings.Telemetry.Tracers, 0, &model.Tracer{
			Name: ofProxyConfig, Callee: model.Callee{Host: host, Port: uint32(port)}, Protocol: model.Zipkin, Path: zipkinPath, Timeout: exportTimeout,
		})
	}
}

// proxyTags are ProxyConfig's tags as Telemetry has them.
func proxyTags(in map[string]*mesh.Tracing_CustomTag) map[string]*telemetry.Tracing_CustomTag {
	out := map[string]*telemetry.Tracing_CustomTag{}
	for name, tag := range in {
		to := &telemetry.Tracing_CustomTag{}
		switch t := tag.GetType().(type) {
		case *mesh.Tracing_CustomTag_Literal:
			to.Type = &telemetry.Tracing_CustomTag_Literal{Literal: &telemetry.Tracing_Literal{Value: t.Literal.GetValue()}}
		case *mesh.Tracing_CustomTag_Environment:
			to.Type = &telemetry.Tracing_CustomTag_Environment{Environment: &telemetry.Tracing_Environment{Name: t.Environment.GetName(), DefaultValue: t.Environment.GetDefaultValue()}}
		case *mesh.Tracing_CustomTag_Header:
			to.Type = &telemetry.Tracing_CustomTag_Header{Header: &telemetry.Tracing_RequestHeader{Name: t.Header.GetName(), DefaultValue: t.Header.GetDefaultValue()}}
		}
		out[name] = to
	}
	return out
}
