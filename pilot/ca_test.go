package pilot

import (
	"testing"

	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/spiffe"
)

// NewCA gives the tests outside of this package the PEM of a CA, and the
// certificates that it issues.
func NewCA(t *testing.T) (roots string, issue func(spiffe.ID) *enroll.Certificate) {
	ca := newTestCA(t)
	return ca.pem(), ca.issue
}
