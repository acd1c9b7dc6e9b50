package view

import (
	"reflect"
	"testing"

	"github.com/weftmesh/weft/internal/model"
)

// TestTracesOfLevels: each level changes what it names, for its side.
// Source: istio.io/api telemetry/v1alpha1, message Tracing.
func TestTracesOfLevels(t *testing.T) {
	yes, no, three, seven := true, false, 3.0, 7.0
	a := &model.Tracer{Name: "a", Callee: model.Callee{Host: "a.example.com", Port: 4317}, MaxTag: 9}
	b := &model.Tracer{Name: "b", Callee: model.Callee{Host: "b.example.com", Port: 4317}}
	defaults := &model.TelemetryDefaults{Tracers: []*model.Tracer{a, b}, Traces: "a", Tracing: model.TraceChange{Sampling: &seven}}
	rule := func(s model.Sides, c model.TraceChange, providers ...string) *model.Telemetry {
		return &model.Telemetry{Traces: []model.TraceRule{{Sides: s, Change: c, Providers: providers}}}
	}
	disabled := func(s model.Sides, d *bool) *model.Telemetry {
		return &model.Telemetry{Traces: []model.TraceRule{{Sides: s, Disabled: d}}}
	}
	server, client := model.Sides{Server: true}, model.Sides{Client: true}
	ofA := model.Tracing{Tracer: a, Cluster: "trace|4317|a|a.example.com", Sampling: 7, ByRequestID: true, IstioTags: true, MaxTag: 9}
	for name, c := range map[string]struct {
		levels []*model.Telemetry
		change func(*model.Tracing)
		server bool
	}{
		"defaults":              {nil, func(*model.Tracing) {}, false},
		"a value":               {[]*model.Telemetry{rule(model.Both, model.TraceChange{Sampling: &three})}, func(w *model.Tracing) { w.Sampling = 3 }, false},
		"of the other side":     {[]*model.Telemetry{rule(client, model.TraceChange{Sampling: &three})}, func(*model.Tracing) {}, true},
		"another provider":      {[]*model.Telemetry{rule(model.Both, model.TraceChange{}, "b", "a")}, func(w *model.Tracing) { w.Tracer, w.Cluster, w.MaxTag = b, "trace-in|4317|b|b.example.com", 0 }, true},
		"a provider of none":    {[]*model.Telemetry{rule(model.Both, model.TraceChange{}, "none")}, nil, true},
		"disabled":              {[]*model.Telemetry{disabled(model.Both, &yes)}, nil, true},
		"disabled for one side": {[]*model.Telemetry{disabled(server, &yes)}, func(*model.Tracing) {}, false},
		"enabled below":         {[]*model.Telemetry{disabled(model.Both, &yes), disabled(server, &no)}, func(*model.Tracing) {}, true},
		"all that can be set": {[]*model.Telemetry{rule(model.Both, model.TraceChange{ByRequestID: &no, IstioTags: &no, NoPropagation: &yes, Tags: []model.TraceTag{{Name: "x"}}})},
			func(w *model.Tracing) {
				w.ByRequestID, w.IstioTags, w.NoPropagation, w.Tags = false, false, true, []model.TraceTag{{Name: "x"}}
			}, true},
		"tags are replaced": {[]*model.Telemetry{rule(model.Both, model.TraceChange{Tags: []model.TraceTag{{Name: "x"}}}), rule(model.Both, model.TraceChange{Tags: []model.TraceTag{{Name: "y"}}})},
			func(w *model.Tracing) { w.Tags = []model.TraceTag{{Name: "y"}} }, true},
	} {
		got := merging{defaults: defaults, server: c.server}.traces(c.levels)
		if c.change == nil {
			if got != nil {
				t.Errorf("%s: %+v, want none", name, got)
			}
			continue
		}
		want := ofA
		if c.server {
			want.Cluster = "trace-in|4317|a|a.example.com"
		}
		if c.change(&want); got == nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}
