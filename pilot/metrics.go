package pilot

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/internal/counted"
	"github.com/weftmesh/weft/internal/diag"
)

// metrics of the pipeline; those of streams are in xds.
type metrics struct{ runs prometheus.Histogram }

func newMetrics(reg prometheus.Registerer, e *engine) *metrics {
	m := &metrics{runs: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "weft_pilot_run_seconds", Help: "Seconds from taking a state of the configuration to its publication for all classes.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
	})}
	services := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pilot_services", Help: "Services that the pilot knows."}, func() float64 {
		if out := e.outcome.Load(); out != nil {
			return float64(out.result.Mesh.Services.Len())
		}
		return 0
	})
	problems := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weft_pilot_config_errors", Help: "Findings of severity error about users' objects that stand now."}, func() float64 {
		return float64(countErrors(e.outcome.Load()))
	})
	reg.MustRegister(m.runs, services, problems)
	return m
}

func countErrors(out *outcome) (n int) {
	if out == nil {
		return 0
	}
	count := func(list []diag.Diagnostic) {
		for _, d := range list {
			if d.Severity == diag.Error {
				n++
			}
		}
	}
	count(out.state.Findings)
	for _, f := range out.result.Findings.All() {
		count(f.List)
	}
	return n
}

// registerInfo adds pilot_info and istio_build, by which dashboards find the pilot.
func registerInfo(reg prometheus.Registerer, version string) {
	reg.MustRegister(counted.Build("pilot", version), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pilot_info", Help: "The pilot's version; always 1.", ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 }))
}
