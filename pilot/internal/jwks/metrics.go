package jwks

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// sinceGood is computed when it is asked for.
var sinceGood = prometheus.NewDesc("weft_pilot_jwks_seconds_since_good",
	"Seconds since keys were fetched last from a host, the longest of its URLs; since they were first wanted where none were ever fetched.", []string{"host"}, nil)

// register makes the metrics.
func (s *Source) register() {
	s.fetches = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weft_pilot_jwks_fetches_total",
		Help: "Fetches of keys by host and outcome: good, or why not (status, invalid, large, timeout, unreachable, untrusted, redirect, refused: its address; open: not asked, the breaker is open).",
	}, []string{"host", "outcome"})
	if s.Metrics != nil {
		s.Metrics.MustRegister(s.fetches, s)
	}
}

// count counts a fetch; mu is held.
func (s *Source) count(e *entry, err error) {
	outcome := "good"
	var failed *failure
	switch {
	case errors.As(err, &failed):
		outcome = failed.outcome
	case err != nil:
		outcome = "open"
	}
	s.fetches.WithLabelValues(hostOf(e.source), outcome).Inc()
}

// Describe implements prometheus.Collector.
func (s *Source) Describe(out chan<- *prometheus.Desc) { out <- sinceGood }

// Collect implements prometheus.Collector.
func (s *Source) Collect(out chan<- prometheus.Metric) {
	for host, age := range s.ages() {
		out <- prometheus.MustNewConstMetric(sinceGood, prometheus.GaugeValue, age.Seconds(), host)
	}
}

func (s *Source) ages() map[string]time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]time.Duration{}
	for _, e := range s.entries {
		out[hostOf(e.source)] = max(out[hostOf(e.source)], time.Since(e.since))
	}
	return out
}
