package identity

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// kubeMetrics tell how the API server answers the CA.
type kubeMetrics struct {
	breaker prometheus.Gauge
	calls   *prometheus.HistogramVec
}

func newKubeMetrics(reg prometheus.Registerer) *kubeMetrics {
	m := &kubeMetrics{
		breaker: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weft_ca_kubernetes_breaker_state",
			Help: "State of the circuit breaker around reviews of tokens by the API server: 0 closed, 1 half open, 2 open.",
		}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "weft_ca_kubernetes_request_duration_seconds",
			Help:    "Time of one call to the API server to prove a caller, in seconds, by call (tokenreview or pod) and result (answered or failed).",
			Buckets: prometheus.ExponentialBuckets(0.0005, 3, 9),
		}, []string{"call", "result"}),
	}
	reg.MustRegister(m.breaker, m.calls)
	return m
}

func (m *kubeMetrics) done(call string, start time.Time, err error) {
	result := "answered"
	if err != nil {
		result = "failed"
	}
	m.calls.WithLabelValues(call, result).Observe(time.Since(start).Seconds())
}
