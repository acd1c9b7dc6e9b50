package xdsproxy

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the connection to the pilot. Names are without a prefix, which the
// registries add.
type Metrics struct {
	requests, responses, failures prometheus.Counter
	byEnvoy, byPilot              prometheus.Counter
	streams, breaker              prometheus.Gauge
}

// NewMetrics registers with istio what Istio's agent has too, under its names,
// and with own what it has not.
func NewMetrics(istio, own prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		istio.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		own.MustRegister(g)
		return g
	}
	return &Metrics{
		requests:  counter("xds_proxy_requests", "xDS requests of Envoy that were passed to the pilot."),
		responses: counter("xds_proxy_responses", "xDS responses of the pilot that were passed to Envoy."),
		failures:  counter("istiod_connection_failures", "Failed attempts to connect to the pilot."),
		byEnvoy:   counter("envoy_connection_terminations", "xDS streams that Envoy ended."),
		byPilot:   counter("istiod_connection_terminations", "xDS streams that the pilot ended."),
		streams:   gauge("xds_proxy_streams", "xDS streams of Envoy that are connected to the pilot now."),
		breaker:   gauge("pilot_breaker_state", "Breaker around dialling the pilot: 0 closed, 1 half open, 2 open."),
	}
}
