package agent

import (
	"fmt"

	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/spiffe"
)

// newCertificates is the manager of the pod's own certificate. held is what the
// proxy has taken of it.
func newCertificates(o Options, n network, metrics *enroll.Metrics, held func() enroll.Held) (*enroll.Manager, error) {
	roots, err := enroll.RootsFile(o.CA.RootsFile)
	if err != nil {
		return nil, fmt.Errorf("agent: --root-cert: %w", err)
	}
	log := o.Log.With("part", "certificates")
	issuer := o.CA.Issuer
	if issuer == nil {
		if issuer, err = newCAClient(o, n, roots, metrics); err != nil {
			return nil, err
		}
	}
	return enroll.NewManager(enroll.ManagerOptions{Issuer: issuer, Roots: roots, Metrics: metrics, Logger: log, Held: held}), nil
}

func newCAClient(o Options, n network, roots *enroll.Roots, metrics *enroll.Metrics) (*enroll.Client, error) {
	us, err := spiffe.New(o.Node.TrustDomain, o.Node.Namespace, o.Node.ServiceAccount)
	if err != nil {
		return nil, err
	}
	return enroll.NewClient(enroll.ClientOptions{
		Address: o.CA.Address, CA: o.CA.ID, Identity: us, Roots: roots,
		TokenFile: o.CA.TokenFile, TTL: o.CA.TTL, Metrics: metrics, Dial: n.dial,
	})
}
