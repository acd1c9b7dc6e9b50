package cluster

import "github.com/prometheus/client_golang/prometheus"

// metrics tell what the CA does in the cluster.
type metrics struct {
	leader  prometheus.Gauge
	written prometheus.Counter
	failed  prometheus.Counter
	stale   prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weft_ca_leader", Help: "1 while this replica writes the ConfigMaps with the trusted roots, else 0."}),
		written: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weft_ca_root_configmaps_written_total", Help: "ConfigMaps with the trusted roots created or repaired."}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weft_ca_root_configmaps_failed_total", Help: "ConfigMaps that could not be written; each is tried again."}),
		stale: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weft_ca_secret_rejected", Help: "1 while the Secret of the signing key cannot be used and the last good one stays in force, else 0."}),
	}
	reg.MustRegister(m.leader, m.written, m.failed, m.stale)
	return m
}
