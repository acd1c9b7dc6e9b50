package compile

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// compileTelemetry reads one Telemetry. A rule whose filter cannot be read is
// left out as a whole, so that nothing is logged that was not meant to be.
//
// Source: istio.io/api telemetry/v1alpha1, message Telemetry.
func compileTelemetry(o *config.Object, in scope, d *diag.List) *model.Telemetry {
	spec, ok := o.Spec.(*telemetry.Telemetry)
	if !ok {
		return nil
	}
	out := &model.Telemetry{Namespace: o.Namespace, Name: o.Name, Rank: rank(o), Origin: origin(o, "telemetry.istio.io", "telemetry")}
	selectors, told := policySelectors(spec, o.Namespace, in, d)
	if !told {
		return nil // what it refers to is reported
	}
	out.Selectors = selectors
	defaults := &in.settings().Telemetry
	for i, rule := range spec.GetAccessLogging() {
		at := diag.Path("spec.accessLogging").Index(i)
		names := providers(rule.GetProviders(), at, d, func(name string) bool { return defaults.Provider(name) != nil })
		filter := rule.GetFilter().GetExpression()
		if filter != "" && !logFilter(filter, at.Field("filter").Field("expression"), d) {
			continue
		}
		out.Logs = append(out.Logs, model.LogRule{Sides: sides(rule.GetMatch().GetMode()), Providers: names, Disabled: rule.GetDisabled().GetValue(), Filter: filter})
	}
	for i, rule := range spec.GetTracing() {
		out.Traces = append(out.Traces, traceRule(rule, defaults, diag.Path("spec.tracing").Index(i), d))
	}
	for i, rule := range spec.GetMetrics() {
		at := diag.Path("spec.metrics").Index(i)
		next := model.MetricRule{Interval: reportingInterval(rule.GetReportingInterval(), at.Field("reportingInterval"), d), Providers: providers(rule.GetProviders(), at, d, func(name string) bool { return slices.Contains(defaults.Meters, name) })}
		for j, override := range rule.GetOverrides() {
			if m, ok := metricOverride(override, at.Field("overrides").Index(j), d); ok {
				next.Overrides = append(next.Overrides, m)
			}
		}
		out.Metrics = append(out.Metrics, next)
	}
	return out
}

// providers are names of those that a rule is for. One that does not exist
// stays: the rule is not for the others then.
func providers(in []*telemetry.ProviderRef, at diag.Path, d *diag.List, known func(name string) bool) (out []string) {
	for i, p := range in {
		if !known(p.GetName()) {
			d.Add(diag.NoProvider, at.Field("providers").Index(i).Field("name"), "there is no provider %q for this; the rule has no effect on it", p.GetName())
		}
		out = append(out, p.GetName())
	}
	return out
}

// Bounds of the interval: each open connection costs an entry of Envoy's log each time.
const (
	minInterval = time.Second
	maxInterval = 10 * time.Minute
)

// reportingInterval is 0 where nothing is set, and negative for an interval of 0,
// by which nothing is reported before its end.
// Source: istio.io/api telemetry/v1alpha1, Metrics.reporting_interval.
func reportingInterval(in *durationpb.Duration, at diag.Path, d *diag.List) time.Duration {
	if in == nil {
		return 0
	}
	asked := in.AsDuration()
	if asked <= 0 {
		return -1
	}
	out := min(max(asked, minInterval), maxInterval)
	if out != asked {
		d.Add(diag.NoEffect, at, "%s is taken as %s: the shortest interval is %s, the longest %s", asked, out, minInterval, maxInterval)
	}
	return out
}

func sides(mode telemetry.WorkloadMode) model.Sides {
	return model.Sides{Client: mode != telemetry.WorkloadMode_SERVER, Server: mode != telemetry.WorkloadMode_CLIENT}
}

type wrappedBool interface{ GetValue() bool }

// boolOf is nil where nothing is set.
func boolOf[B interface {
	comparable
	wrappedBool
}](in B) *bool {
	var none B
	if in == none {
		return nil
	}
	v := in.GetValue()
	return &v
}

// metricOverride reads an override; false: it is for no metric that there is.
func metricOverride(in *telemetry.MetricsOverrides, at diag.Path, d *diag.List) (out model.MetricOverride, ok bool) {
	out = model.MetricOverride{Sides: sides(in.GetMatch().GetMode()), Disabled: boolOf(in.GetDisabled())}
	switch m := in.GetMatch().GetMetricMatch().(type) {
	case *telemetry.MetricSelector_Metric:
		if m.Metric != telemetry.MetricSelector_ALL_METRICS {
			out.Metrics = []string{model.StandardMetrics[m.Metric.String()]}
		}
	case *telemetry.MetricSelector_CustomMetric:
		name := strings.TrimPrefix(m.CustomMetric, "istio_")
		if !slices.Contains(slices.Collect(maps.Values(model.StandardMetrics)), name) {
			d.Add(diag.NoMetric, at.Field("match").Field("customMetric"), "the proxies have no metric %q", m.CustomMetric)
			return out, false
		}
		out.Metrics = []string{name}
	}
	tags := in.GetTagOverrides()
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		if t, ok := tagOverride(name, tags[name], at.Field("tagOverrides").Key(name), d); ok {
			out.Tags = append(out.Tags, t)
		}
	}
	return out, true
}

// labelName is Prometheus' form; names of two underscores are its own.
var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// tagOverride reads a label; false: it cannot be used.
func tagOverride(name string, in *telemetry.MetricsOverrides_TagOverride, at diag.Path, d *diag.List) (out model.TagOverride, ok bool) {
	out.Name = name
	if !labelName.MatchString(name) || strings.HasPrefix(name, "__") || name == "le" {
		d.Add(diag.Invalid, at, "%.100q is not a label's name: letters, digits and _, and none of Prometheus' own", name)
		return out, false
	}
	if in.GetOperation() == telemetry.MetricsOverrides_TagOverride_REMOVE {
		if in.GetValue() != "" {
			d.Add(diag.NoEffect, at.Field("value"), "operation REMOVE takes no value")
		}
		out.Remove = true
		return out, true
	}
	if in.GetValue() == "" {
		d.Add(diag.Invalid, at.Field("value"), "operation UPSERT needs a value; the label is as without it")
		return out, false
	}
	out.Value, ok = tagValue(in.GetValue(), at.Field("value"), d)
	return out, ok
}

// telemetryScope says to whom a Telemetry applies.
func telemetryScope(_ string, t *model.Telemetry) (keys []string) {
	if len(t.Selectors) == 0 {
		return []string{t.Namespace + "|"}
	}
	for _, s := range t.Selectors {
		keys = append(keys, t.Namespace+"|"+model.FormatLabels(s))
	}
	return keys
}

// checkTelemetry reports a Telemetry whose workloads an older one has claimed.
// Source: istio.io/api telemetry/v1alpha1, Telemetry ("it is only valid to have
// one resource selecting any given workload").
func checkTelemetry(t *model.Telemetry, in scope, d *diag.List) {
	checkTracers(t, in, d)
	checkLogCollectors(t, in, d)
	for _, key := range telemetryScope("", t) {
		others, _ := memo.Get(in.r, &in.c.reported.Cell, key)
		for _, other := range others.All() {
			if other.Rank < t.Rank {
				d.Add(diag.Duplicate, "spec.selector", "the older Telemetry %s/%s is for the same workloads and wins", other.Namespace, other.Name)
				return
			}
		}
	}
}
