package overflows

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/internal/clustername"
)

var (
	labels  = []string{"destination_service", "destination_port", "destination_subset", "limit"}
	total   = prometheus.NewDesc("weft_upstream_overflows_total", "How often this proxy met a limit of a circuit breaker: connections, pending_requests, requests or retries.", labels, nil)
	sinceAt = prometheus.NewDesc("weft_upstream_overflowing_timestamp_seconds", "Since when this proxy meets the limit, in seconds since the epoch; there while it was met in the last minute.", labels, nil)
	allowed = prometheus.NewDesc("weft_upstream_overflowing_limit", "The limit that is met; there as weft_upstream_overflowing_timestamp_seconds is, where it is known.", labels, nil)
)

// Describe names the metrics.
func (w *Watcher) Describe(to chan<- *prometheus.Desc) {
	to <- total
	to <- sinceAt
	to <- allowed
}

// Collect gives what is known now.
func (w *Watcher) Collect(to chan<- prometheus.Metric) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	for l, s := range w.met {
		of := append(clustername.Labels(l.cluster), l.name)
		to <- prometheus.MustNewConstMetric(total, prometheus.CounterValue, float64(s.total), of...)
		if s.last.IsZero() || now.Sub(s.last) >= quiet {
			continue
		}
		to <- prometheus.MustNewConstMetric(sinceAt, prometheus.GaugeValue, float64(s.since.UnixMilli())/1000, of...)
		if s.allowed > 0 {
			to <- prometheus.MustNewConstMetric(allowed, prometheus.GaugeValue, float64(s.allowed), of...)
		}
	}
}
