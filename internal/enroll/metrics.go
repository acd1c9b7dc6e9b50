package enroll

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"
	"google.golang.org/grpc/status"
)

// Metrics count what enrolment does. A nil *Metrics records nothing.
type Metrics struct {
	calls    *prometheus.CounterVec
	duration prometheus.Histogram
	state    prometheus.Gauge
	expiry   prometheus.Gauge
	issued   prometheus.Gauge
}

// NewMetrics registers the metrics with reg; it panics if they are registered
// there already, which is a fault of the program.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weft_ca_client_requests_total",
			Help: "Certificate requests made, by the gRPC code of the result (OK, Unavailable, PermissionDenied, ...), BreakerOpen if the breaker held the request back, Local if the token, the roots or the check of the answer was at fault.",
		}, []string{"code"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "weft_ca_client_request_duration_seconds",
			Help:    "Time from making a key to holding a checked certificate, in seconds; failures included.",
			Buckets: prometheus.ExponentialBuckets(0.005, 4, 7),
		}),
		state: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weft_ca_client_breaker_state",
			Help: "State of the circuit breaker around calls to the CA: 0 closed, 1 half open, 2 open.",
		}),
		expiry: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weft_workload_certificate_expiry_timestamp_seconds",
			Help: "End of validity of the certificate in use, in seconds since the epoch; 0 before the first.",
		}),
		issued: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "weft_workload_certificate_issued_timestamp_seconds",
			Help: "When the certificate in use was got or last renewed, in seconds since the epoch; 0 before the first.",
		}),
	}
	reg.MustRegister(m.calls, m.duration, m.state, m.expiry, m.issued)
	return m
}

func (m *Metrics) call(took time.Duration, err error) {
	if m == nil {
		return
	}
	m.calls.WithLabelValues(result(err)).Inc()
	m.duration.Observe(took.Seconds())
}

// result is the code label of a call that ended with err.
func result(err error) string {
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return "BreakerOpen"
	}
	if s, ok := status.FromError(err); ok {
		return s.Code().String()
	}
	return "Local"
}

func (m *Metrics) breaker(state gobreaker.State) {
	if m != nil {
		m.state.Set(float64(state))
	}
}

func (m *Metrics) holds(cert *Certificate) {
	if m != nil {
		m.expiry.Set(float64(cert.Leaf.NotAfter.Unix()))
		m.issued.SetToCurrentTime()
	}
}
