package agent

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/internal/agent/sds"
)

// newExternal is the way to another SDS server, nil where the pod has none. That
// there is one is told by the folder, which somebody has mounted on purpose, and not
// by the socket: while that is away a pod waits, and does not come up with an
// identity that nobody wanted.
func newExternal(o Options, to *sds.Server, reg prometheus.Registerer) *sds.Upstream {
	if o.WorkloadSDS == "" {
		return nil
	}
	if info, err := os.Stat(filepath.Dir(o.WorkloadSDS)); err != nil || !info.IsDir() {
		return nil
	}
	log := o.Log.With("part", "sds")
	log.Info("the workload's certificate comes from another SDS server", "socket", o.WorkloadSDS)
	expiry := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "external_certificate_expiry_timestamp_seconds",
		Help: "End of validity of the certificate that Envoy was given by another SDS server, in seconds since the epoch; 0 before the first.",
	})
	reg.MustRegister(expiry)
	return &sds.Upstream{Socket: o.WorkloadSDS, To: to, Log: log, Got: func(s *tlsv3.Secret) {
		if c := s.GetTlsCertificate(); c != nil {
			block, _ := pem.Decode(c.GetCertificateChain().GetInlineBytes())
			if block == nil {
				return
			}
			if leaf, err := x509.ParseCertificate(block.Bytes); err == nil {
				expiry.Set(float64(leaf.NotAfter.Unix()))
				log.Info("certificate from another SDS server", "names", leaf.URIs, "serial", leaf.SerialNumber.Text(16), "notAfter", leaf.NotAfter)
			}
		}
	}}
}
