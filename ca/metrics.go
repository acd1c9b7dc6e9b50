package ca

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/weftmesh/weft/ca/internal/refusal"
	"github.com/weftmesh/weft/internal/fair"
)

// metrics are what the CA counts. Names that start with citadel_server_ are
// Istio's, for the dashboards that read them.
type metrics struct {
	requests prometheus.Counter
	issued   prometheus.Counter
	refused  *prometheus.CounterVec
	duration *prometheus.HistogramVec
	conns    prometheus.Gauge
	dropped  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, end func() time.Time) *metrics {
	m := &metrics{
		requests: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "citadel_server_csr_count", Help: "Certificate requests received."}),
		issued: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "citadel_server_success_cert_issuance_count", Help: "Certificates issued."}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weft_ca_refused_total", Help: "Certificate requests refused, by reason; the log has the details."}, []string{"reason"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "weft_ca_request_duration_seconds", Help: "Time from the request's arrival to its answer, in seconds, by result (issued or refused).",
			Buckets: prometheus.ExponentialBuckets(0.0001, 3, 9)}, []string{"result"}),
		conns: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weft_ca_connections", Help: "Connections open to the CSR service."}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weft_ca_connections_dropped_total", Help: "Connections closed at once because their address had too many."}),
	}
	expiry := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "citadel_server_root_cert_expiry_timestamp", Help: "When the root or the signing certificate ends, whichever is sooner, in seconds since the epoch; 0 before there is one.",
	}, func() float64 { return float64(max(end().Unix(), 0)) })
	reg.MustRegister(m.requests, m.issued, m.refused, m.duration, m.conns, m.dropped, expiry,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, reason := range refusal.All {
		m.refused.WithLabelValues(string(reason))
	}
	return m
}

// done counts one request that took so long and ended with err.
func (m *metrics) done(took time.Duration, err error) {
	result := "issued"
	if err != nil {
		result = "refused"
		m.refused.WithLabelValues(string(refusal.Of(err))).Inc()
	} else {
		m.issued.Inc()
	}
	m.duration.WithLabelValues(result).Observe(took.Seconds())
}

// waitingGauge tells how many calls wait for their turn.
func waitingGauge(turns *fair.Turns) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weft_ca_waiting_calls", Help: fmt.Sprintf("Calls that wait for their turn; beyond %d those of the namespace with the most are told to come again.", turnsWaiting),
	}, func() float64 { return float64(turns.Waiting()) })
}
