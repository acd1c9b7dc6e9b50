package ca

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/ca/internal/rotation"
)

// rotationMetrics are read when they are asked for.
type rotationMetrics struct{ *rotator }

var (
	rootExpiry = prometheus.NewDesc("weft_ca_root_expiry_timestamp_seconds",
		"End of validity of each trusted root, in seconds since the epoch; signs says whether certificates are issued from it.", []string{"root", "signs"}, nil)
	rotationStage = prometheus.NewDesc("weft_ca_rotation_stage",
		"1 for the stage that the root's rotation is in (None, Distribute, Trusted, Issue, Drained, Dropped), else 0.", []string{"stage"}, nil)
	rotationWaiting = prometheus.NewDesc("weft_ca_rotation_waiting_proxies",
		"Proxies that keep the root's rotation in its stage.", nil, nil)
	rotationPaused = prometheus.NewDesc("weft_ca_rotation_paused", "1 while a rotation is paused, else 0.", nil, nil)
	certificates   = prometheus.NewDesc("weft_ca_proxies", "Holders of a certificate that is valid, as this replica knows them.", nil, nil)
	servingExpiry  = prometheus.NewDesc("weft_ca_serving_certificate_expiry_timestamp_seconds",
		"End of the certificate that the CA itself serves with, which it renews at two thirds of its life, in seconds since the epoch.", nil, nil)
	firstExpiry = prometheus.NewDesc("weft_ca_first_expiry_timestamp_seconds",
		"End of the certificate in use that ends first, in seconds since the epoch; 0 where none is known.", nil, nil)
)

// Describe implements prometheus.Collector.
func (rotationMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{rootExpiry, rotationStage, rotationWaiting, rotationPaused, certificates, firstExpiry, servingExpiry} {
		to <- d
	}
}

// Collect implements prometheus.Collector. Before there is a key it tells nothing.
func (m rotationMetrics) Collect(to chan<- prometheus.Metric) {
	s, err := m.status(time.Now())
	if err != nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, r := range s.Roots {
		signs := "false"
		if r.Signs {
			signs = "true"
		}
		gauge(rootExpiry, float64(r.Expires.Unix()), short(r.Fingerprint), signs)
	}
	for _, stage := range []rotation.Stage{"None", rotation.Distribute, rotation.Trusted, rotation.Issue, rotation.Drained, rotation.Dropped} {
		gauge(rotationStage, one(s.Stage == string(stage)), string(stage))
	}
	gauge(rotationWaiting, float64(len(s.Waiting)))
	gauge(rotationPaused, one(s.Paused))
	gauge(certificates, float64(s.Proxies))
	first := 0.0
	if !s.FirstExpiry.IsZero() {
		first = float64(s.FirstExpiry.Unix())
	}
	gauge(firstExpiry, first)
	if own := m.signing.Load().own.Current(); own != nil {
		gauge(servingExpiry, float64(own.Leaf.NotAfter.Unix()))
	}
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
