package view

import (
	"cmp"
	"maps"
	"reflect"
	"slices"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// telemetries derives what the proxies of a class tell: the Telemetry of the
// mesh, of the namespace and of the workload, the oldest of each, over what
// MeshConfig says. It has one entry, with key "".
//
// Source: istio.io/api telemetry/v1alpha1, message Telemetry.
func telemetries(in *inputs, role model.Role) *memo.Derived[*model.Settings, *model.Reporting] {
	mine := memo.Map(in.graph, &in.telemetries.Cell, func(r *memo.Reader, _ string, t *model.Telemetry) (*model.Telemetry, bool) {
		if in.home(r, t.Namespace) {
			return t, in.selectedByAny(r, t.Selectors)
		}
		return t, len(t.Selectors) == 0 && t.Namespace == in.config(r).RootNamespace
	})
	return memo.Map(in.graph, &in.settings.Cell, func(r *memo.Reader, _ string, s *model.Settings) (*model.Reporting, bool) {
		var levels [3]*model.Telemetry
		for _, t := range memo.All(r, &mine.Cell).All() {
			at := level(t, s.RootNamespace)
			levels[at] = older(levels[at], t, telemetryRank)
		}
		m := merging{defaults: &s.Telemetry, server: role == model.RoleInbound}
		out := m.of(slices.DeleteFunc(levels[:], func(t *model.Telemetry) bool { return t == nil }))
		bare := role == model.RoleGRPCServer || role == model.RoleGRPCClient
		if t := out.Tracing; t != nil && (bare || !in.callable(r, t.Tracer.Callee)) {
			out.Tracing = nil
		}
		out.Logs = slices.DeleteFunc(out.Logs, func(l model.AccessLog) bool {
			return l.Provider.Collector != nil && (bare || !l.OfBootstrap && !in.callable(r, l.Provider.Collector.Callee))
		})
		return out, true
	}, memo.Same(func(a, b *model.Reporting) bool { return reflect.DeepEqual(a, b) }))
}

// level orders Telemetries from the widest to the narrowest.
func level(t *model.Telemetry, root string) int {
	switch {
	case len(t.Selectors) > 0:
		return 2
	case t.Namespace != root:
		return 1
	}
	return 0
}

func telemetryRank(t *model.Telemetry) string { return t.Rank }

// telemetryKeys are the labels by which a Telemetry tells the workloads of its
// namespace apart on one side, as "namespace/key".
func telemetryKeys(t *model.Telemetry, server bool) (keys []string) {
	if !saysOf(t, server) {
		return nil
	}
	for _, s := range t.Selectors {
		keys = append(keys, keysIn(t.Namespace, s)...)
	}
	return keys
}

// saysOf reports whether any rule is for a side. A rule that only names
// providers is for both.
func saysOf(t *model.Telemetry, server bool) bool {
	return slices.ContainsFunc(t.Logs, func(r model.LogRule) bool { return on(r.Sides, server) }) ||
		slices.ContainsFunc(t.Traces, func(r model.TraceRule) bool { return on(r.Sides, server) }) ||
		slices.ContainsFunc(t.Metrics, func(r model.MetricRule) bool {
			return len(r.Providers) > 0 || r.Interval != 0 || slices.ContainsFunc(r.Overrides, func(o model.MetricOverride) bool { return on(o.Sides, server) })
		})
}

func on(s model.Sides, server bool) bool { return server && s.Server || !server && s.Client }

// merging puts levels over one another for one side.
type merging struct {
	defaults *model.TelemetryDefaults
	server   bool
}

func (m merging) of(levels []*model.Telemetry) *model.Reporting {
	out := &model.Reporting{Logs: m.logs(levels), Tracing: m.traces(levels)}
	m.metrics(levels, out)
	for _, t := range levels {
		out.Origins = append(out.Origins, t.Origin)
	}
	return out
}

// log is what levels have said of a provider.
type log struct {
	disabled bool
	filter   string
}

// logs: a level that names providers replaces those of the levels above; a
// rule without providers is for those that the last rule with some named. What
// is disabled stays so until a rule is for it that does not disable it.
// Source: istio.io/api telemetry/v1alpha1, AccessLogging, and what Istio does
// where that is silent.
func (m merging) logs(levels []*model.Telemetry) (out []model.AccessLog) {
	names := m.defaults.Logs
	if len(names) == 0 {
		for _, p := range m.defaults.Unnamed {
			names = append(names, p.Name)
		}
	}
	said := map[string]log{}
	for _, t := range levels {
		var named []string
		for _, rule := range t.Logs {
			if !on(rule.Sides, m.server) {
				continue
			}
			if len(rule.Providers) > 0 {
				named, names = append(named, rule.Providers...), rule.Providers
			}
			for _, name := range names {
				said[name] = log{filter: rule.Filter, disabled: rule.Disabled}
			}
		}
		if len(named) > 0 {
			names = named
		}
	}
	names = slices.Sorted(slices.Values(names))
	for _, name := range slices.Compact(names) {
		provider := m.defaults.Provider(name)
		if of := said[name]; provider != nil && !of.disabled {
			l := model.AccessLog{Provider: provider, Filter: of.filter}
			if c := provider.Collector; c != nil && c.Cluster != "" {
				l.Cluster, l.OfBootstrap = c.Cluster, true
			} else if c != nil {
				l.Cluster = m.ownCluster("logs", provider.Name, c.Callee)
			}
			out = append(out, l)
		}
	}
	return out
}

// ownCluster differs by side: a proxy has the clusters of both, and no two of one
// name.
func (m merging) ownCluster(kind, name string, c model.Callee) string {
	if m.server {
		kind += "-in"
	}
	return ownCluster(kind, name, c)
}

// traces: each rule changes what it names; the last that names a provider says
// which. Nil: no spans are reported.
// Source: istio.io/api telemetry/v1alpha1, message Tracing.
func (m merging) traces(levels []*model.Telemetry) *model.Tracing {
	out := &model.Tracing{Sampling: model.DefaultSampling, ByRequestID: true, IstioTags: true}
	out.Apply(&m.defaults.Tracing)
	name, disabled := m.defaults.Traces, false
	for _, t := range levels {
		for _, rule := range t.Traces {
			if !on(rule.Sides, m.server) {
				continue
			}
			if len(rule.Providers) > 0 {
				name = rule.Providers[0]
			}
			if d := rule.Disabled; d != nil {
				disabled = *d
			}
			out.Apply(&rule.Change)
		}
	}
	if out.Tracer = m.defaults.Tracer(name); out.Tracer == nil || disabled {
		return nil
	}
	out.Cluster = m.ownCluster("trace", out.Tracer.Name, out.Tracer.Callee)
	if out.Tracer.MaxTag != 0 {
		out.MaxTag = out.Tracer.MaxTag
	}
	return out
}

// metrics: overrides are applied in order, the mesh's first.
// Source: istio.io/api telemetry/v1alpha1, Metrics.overrides.
func (m merging) metrics(levels []*model.Telemetry, out *model.Reporting) {
	names := m.defaults.Metrics
	for _, t := range levels {
		var named []string
		for _, rule := range t.Metrics {
			if len(rule.Providers) > 0 {
				named, names = append(named, rule.Providers...), rule.Providers
			}
			if !slices.ContainsFunc(names, m.meters) {
				continue
			}
			out.Interval = cmp.Or(rule.Interval, out.Interval)
			for _, o := range rule.Overrides {
				if on(o.Sides, m.server) {
					override(out, o)
				}
			}
		}
		if len(named) > 0 {
			names = named
		}
	}
	out.NoMetrics = !slices.ContainsFunc(names, m.meters)
}

// meters reports whether a provider's metrics are those for Prometheus.
func (m merging) meters(name string) bool { return slices.Contains(m.defaults.Meters, name) }

// override applies one override to what there is.
func override(out *model.Reporting, o model.MetricOverride) {
	names := o.Metrics
	if len(names) == 0 {
		names = slices.Collect(maps.Values(model.StandardMetrics))
	}
	if out.Metrics == nil {
		out.Metrics = map[string]model.Metric{}
	}
	for _, name := range names {
		now := out.Metrics[name]
		if o.Disabled != nil {
			now.Disabled = *o.Disabled
		}
		tags := slices.Clone(now.Tags)
		for _, t := range o.Tags {
			tags = append(slices.DeleteFunc(tags, func(old model.TagOverride) bool { return old.Name == t.Name }), t)
		}
		slices.SortFunc(tags, func(a, b model.TagOverride) int { return cmp.Compare(a.Name, b.Name) })
		now.Tags = tags
		out.Metrics[name] = now
	}
}
