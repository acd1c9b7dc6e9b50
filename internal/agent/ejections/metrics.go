package ejections

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/internal/clustername"
)

// other stands for what has no series of its own.
const other = "other"

var (
	labels     = []string{"destination_service", "destination_port", "destination_subset", "address", "destination_pod", "reason"}
	ejected    = prometheus.NewDesc("weft_upstream_ejected", "Hosts that this proxy leaves out now as outliers: 1 each, and how many more there are where the address is other.", labels, nil)
	ejectedAt  = prometheus.NewDesc("weft_upstream_ejected_timestamp_seconds", "When this proxy began to leave out the host, in seconds since the epoch.", labels, nil)
	ejectTotal = prometheus.NewDesc("weft_upstream_ejections_total", "Ejections of hosts by this proxy since its agent started, by why.",
		[]string{"destination_service", "destination_port", "destination_subset", "reason"}, nil)
)

// Describe names the metrics.
func (w *Watcher) Describe(to chan<- *prometheus.Desc) {
	to <- ejected
	to <- ejectedAt
	to <- ejectTotal
}

// Collect gives what is known now.
func (w *Watcher) Collect(to chan<- prometheus.Metric) {
	w.mu.Lock()
	defer w.mu.Unlock()
	hosts, known := w.sorted()
	for _, h := range hosts[:min(len(hosts), maxSeries)] {
		e := known[h]
		at := append(clustername.Labels(h.cluster), h.address, e.pod, e.reason)
		to <- prometheus.MustNewConstMetric(ejected, prometheus.GaugeValue, 1, at...)
		to <- prometheus.MustNewConstMetric(ejectedAt, prometheus.GaugeValue, float64(e.since.UnixMilli())/1000, at...)
	}
	if more := len(hosts) - maxSeries; more > 0 {
		to <- prometheus.MustNewConstMetric(ejected, prometheus.GaugeValue, float64(more), other, "", "", other, "", other)
	}
	for k, n := range w.total {
		to <- prometheus.MustNewConstMetric(ejectTotal, prometheus.CounterValue, float64(n), append(clustername.Labels(k.cluster), k.reason)...)
	}
}
