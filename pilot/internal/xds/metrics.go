package xds

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// metrics have Istio's names where Istio has the same meaning.
type metrics struct {
	pushes         *prometheus.CounterVec
	pushBytes      *prometheus.CounterVec
	acks           *prometheus.CounterVec
	rejects        *prometheus.CounterVec
	totalRejects   prometheus.Counter
	convergence    prometheus.Histogram
	refusedStreams *prometheus.CounterVec
	strange        prometheus.Counter
	byType         map[string]typeCounters // looked up once
}

type typeCounters struct{ pushes, bytes, acks prometheus.Counter }

// metricTypes are the short names of types in labels, as Istio has them.
var metricTypes = map[string]string{
	snapshot.Cluster: "cds", snapshot.Endpoint: "eds", snapshot.Listener: "lds", snapshot.Route: "rds",
	snapshot.VirtualHost: "vhds", snapshot.Secret: "sds", snapshot.Name: "nds",
}

func newMetrics(reg prometheus.Registerer, s *Server) *metrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		pushes:         vec("pilot_xds_pushes", "Answers sent to proxies, by type of resource.", "type"),
		pushBytes:      vec("weft_pilot_xds_push_bytes_total", "Bytes of resources sent to proxies, by type.", "type"),
		acks:           vec("weft_pilot_xds_acks_total", "Answers that proxies acknowledged, by type.", "type"),
		rejects:        vec("weft_pilot_xds_rejects_total", "Answers that proxies refused (NACK), by type.", "type"),
		refusedStreams: vec("weft_pilot_xds_refused_streams_total", "Streams that the pilot refused or ended, by reason.", "reason"),
		totalRejects:   prometheus.NewCounter(prometheus.CounterOpts{Name: "pilot_total_xds_rejects", Help: "Answers that proxies refused (NACK)."}),
		strange:        prometheus.NewCounter(prometheus.CounterOpts{Name: "weft_pilot_xds_unknown_type_requests_total", Help: "Requests for types of resources that the pilot does not serve."}),
		convergence: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pilot_proxy_convergence_time", Help: "Seconds from a change at the source until a proxy acknowledged it.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
	}
	m.byType = map[string]typeCounters{}
	for typeURL, label := range metricTypes {
		m.rejects.WithLabelValues(label) // 0 until one refuses: a rate needs a first value
		m.byType[typeURL] = typeCounters{m.pushes.WithLabelValues(label), m.pushBytes.WithLabelValues(label), m.acks.WithLabelValues(label)}
	}
	if reg == nil {
		return m
	}
	streams := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pilot_xds", Help: "Proxies' streams that are open."}, func() float64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return float64(len(s.streams))
	})
	classes := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weft_pilot_classes", Help: "Classes of proxies with a snapshot of their own."}, func() float64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return float64(len(s.classes))
	})
	reg.MustRegister(m.pushes, m.pushBytes, m.acks, m.rejects, m.refusedStreams, m.totalRejects, m.strange, m.convergence, streams, classes)
	return m
}

func (m *metrics) pushed(r *response) {
	size := 0
	for _, res := range r.resources {
		size += res.Wire().Len()
	}
	if c, is := m.byType[r.typeURL]; is { // else it is no configuration
		c.pushes.Inc()
		c.bytes.Add(float64(size))
	}
}

func (m *metrics) acked(typeURL string, f *flight, now time.Time) {
	m.byType[typeURL].acks.Inc()
	if !f.since.IsZero() {
		m.convergence.Observe(now.Sub(f.since).Seconds())
	}
}

func (m *metrics) nacked(typeURL string) {
	m.rejects.WithLabelValues(metricTypes[typeURL]).Inc()
	m.totalRejects.Inc()
}
