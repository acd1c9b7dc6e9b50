package compile

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
)

// The providers that every mesh has, unless MeshConfig gives the names another
// meaning. Source: Istio, DefaultMeshConfig.
const (
	logsByName    = "envoy"
	metricsByName = "prometheus"
	stdout        = "/dev/stdout"
)

// compileTelemetryDefaults reads what MeshConfig says of logs and metrics. A
// format that cannot be used leaves Istio's default in force.
//
// Source: istio.io/api mesh/v1alpha1, MeshConfig.accessLogFile,
// accessLogFormat, accessLogEncoding, extensionProviders, defaultProviders.
func compileTelemetryDefaults(in *mesh.MeshConfig, d *diag.List) model.TelemetryDefaults {
	out := model.TelemetryDefaults{Meters: []string{metricsByName}, Metrics: []string{metricsByName}}
	format := meshLogFormat(in, d)
	if file := in.GetAccessLogFile(); file != "" && checkText(file, "accessLogFile", d) {
		out.Unnamed = append(out.Unnamed, &model.LogProvider{Name: ofFile, Path: file, Format: format})
	}
	if in.GetEnableEnvoyAccessLogService() {
		out.Unnamed = append(out.Unnamed, logsOfBootstrap()...)
	}
	names := []string{}
	for i, p := range in.GetExtensionProviders() {
		at := diag.Path("extensionProviders").Index(i)
		isLog := isLogProvider(p)
		_, isMeter := p.GetProvider().(*mesh.MeshConfig_ExtensionProvider_Prometheus)
		if again := slices.Contains(names, p.GetName()); again && (isLog || isMeter) {
			d.Add(diag.Duplicate, at.Field("name"), "another provider before it is called %q too; this one is not used", p.GetName())
			continue
		}
		names = append(names, p.GetName())
		switch {
		case p.GetName() == "" && (isLog || isMeter):
			d.Add(diag.Invalid, at.Field("name"), "it is empty; the provider is not used")
		case isLog:
			if l := logProvider(p, format, at, d); l != nil {
				out.Providers = append(out.Providers, l)
			}
		case isMeter && p.GetName() != metricsByName:
			out.Meters = append(out.Meters, p.GetName())
		}
	}
	if !slices.Contains(names, logsByName) {
		out.Providers = append(out.Providers, &model.LogProvider{Name: logsByName, Path: stdout, Format: format})
	}
	slices.SortFunc(out.Providers, func(a, b *model.LogProvider) int { return strings.Compare(a.Name, b.Name) })
	defaultProviders(in.GetDefaultProviders(), &out, d)
	return out
}

func isLogProvider(p *mesh.MeshConfig_ExtensionProvider) bool {
	switch p.GetProvider().(type) {
	case *mesh.MeshConfig_ExtensionProvider_EnvoyFileAccessLog, *mesh.MeshConfig_ExtensionProvider_EnvoyOtelAls,
		*mesh.MeshConfig_ExtensionProvider_EnvoyHttpAls, *mesh.MeshConfig_ExtensionProvider_EnvoyTcpAls:
		return true
	}
	return false
}

// logProvider reads a provider of logs; nil: it cannot be used.
func logProvider(p *mesh.MeshConfig_ExtensionProvider, ofMesh model.LogFormat, at diag.Path, d *diag.List) *model.LogProvider {
	file, isFile := p.GetProvider().(*mesh.MeshConfig_ExtensionProvider_EnvoyFileAccessLog)
	if isFile {
		return fileProvider(p.GetName(), file.EnvoyFileAccessLog, ofMesh, at.Field("envoyFileAccessLog"), d)
	}
	if !hostname.IsLabel(p.GetName()) { // it is in the name of a cluster
		d.Add(diag.Invalid, at.Field("name"), "%q: the name of a collector has small letters, digits and -, at most 63", p.GetName())
		return nil
	}
	out := &model.LogProvider{Name: p.GetName()}
	switch of := p.GetProvider().(type) {
	case *mesh.MeshConfig_ExtensionProvider_EnvoyOtelAls:
		out.Collector, out.Format = otelCollector(of.EnvoyOtelAls, at.Field("envoyOtelAls"), d)
	case *mesh.MeshConfig_ExtensionProvider_EnvoyHttpAls:
		out.Collector = httpLogService(of.EnvoyHttpAls, at.Field("envoyHttpAls"), d)
	case *mesh.MeshConfig_ExtensionProvider_EnvoyTcpAls:
		out.Collector = tcpLogService(of.EnvoyTcpAls, at.Field("envoyTcpAls"), d)
	}
	if out.Collector == nil {
		return nil
	}
	return out
}

// defaultProviders reads those of objects that name none.
func defaultProviders(in *mesh.MeshConfig_DefaultProviders, out *model.TelemetryDefaults, d *diag.List) {
	at := diag.Path("defaultProviders")
	for i, name := range in.GetAccessLogging() {
		if out.Provider(name) == nil {
			d.Add(diag.NoProvider, at.Field("accessLogging").Index(i), "there is no provider of logs %q", name)
			continue
		}
		out.Logs = append(out.Logs, name)
	}
	var meters []string
	for i, name := range in.GetMetrics() {
		if !slices.Contains(out.Meters, name) {
			d.Add(diag.NoProvider, at.Field("metrics").Index(i), "there is no provider of metrics %q", name)
			continue
		}
		meters = append(meters, name)
	}
	if len(meters) > 0 { // else Istio's default stays
		out.Metrics = meters
	}
}

// meshLogFormat is that of accessLogFile and of the provider "envoy".
func meshLogFormat(in *mesh.MeshConfig, d *diag.List) model.LogFormat {
	const at = diag.Path("accessLogFormat")
	if in.GetAccessLogEncoding() != mesh.MeshConfig_JSON {
		out, _ := textFormat(in.GetAccessLogFormat(), at, d)
		return out
	}
	fields := &structpb.Struct{}
	if text := in.GetAccessLogFormat(); text != "" {
		if err := fields.UnmarshalJSON([]byte(text)); err != nil {
			d.Add(diag.Invalid, at, "accessLogEncoding is JSON, so it must be a JSON object; Istio's fields are logged")
			return model.LogFormat{JSON: true}
		}
	}
	if out, ok := jsonFormat(fields, at, d); ok {
		return out
	}
	return model.LogFormat{JSON: true}
}

// otelLogName is Istio's for records of a provider that names none.
const otelLogName = "otel_envoy_accesslog"

// otelCollector reads a log that goes to a collector by OpenTelemetry; nil: it
// cannot be used.
func otelCollector(in *mesh.MeshConfig_ExtensionProvider_EnvoyOpenTelemetryLogProvider, at diag.Path, d *diag.List) (*model.LogCollector, model.LogFormat) {
	callee, ok := compileCallee(in.GetService(), in.GetPort(), at, d)
	of := in.GetLogFormat()
	text, sound := textFormat(of.GetText(), at.Field("logFormat").Field("text"), d)
	labels, whole := jsonFormat(of.GetLabels(), at.Field("logFormat").Field("labels"), d)
	if !checkText(in.GetLogName(), at.Field("logName"), d) || !ok || !sound || !whole {
		return nil, model.LogFormat{}
	}
	return &model.LogCollector{Callee: callee, LogName: cmp.Or(in.GetLogName(), otelLogName)}, model.LogFormat{Text: text.Text, Labels: labels.Labels}
}

type fileLog = mesh.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider

// fileProvider reads a log to a file; nil: it cannot be used.
func fileProvider(name string, in *fileLog, ofMesh model.LogFormat, at diag.Path, d *diag.List) *model.LogProvider {
	out := &model.LogProvider{Name: name, Path: in.GetPath()}
	if out.Path == "" {
		out.Path = stdout
	}
	ok := checkText(out.Path, at.Field("path"), d)
	at = at.Field("logFormat")
	switch format := in.GetLogFormat().GetLogFormat().(type) {
	case *mesh.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider_LogFormat_Text:
		var sound bool
		out.Format, sound = textFormat(format.Text, at.Field("text"), d)
		ok = ok && sound
	case *mesh.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider_LogFormat_Labels:
		var sound bool
		out.Format, sound = jsonFormat(format.Labels, at.Field("labels"), d)
		ok = ok && sound
	default:
		// Istio lets the provider of this name follow MeshConfig's format.
		if name == logsByName && in.GetLogFormat() == nil && !in.GetOmitEmptyValues() {
			out.Format = ofMesh
		}
	}
	out.Format.OmitEmpty = in.GetOmitEmptyValues()
	if !ok {
		return nil
	}
	return out
}
