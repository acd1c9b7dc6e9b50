package ca

import (
	"testing"
	"time"

	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/internal/enroll"
)

// A certificate of a release that granted more than this one does is waited for
// until it ends.
func TestRosterKnowsOlderCertificates(t *testing.T) {
	now := time.Now()
	r, end := newRoster(now, 24*time.Hour), now.Add(80*24*time.Hour)
	r.told(identity.Caller{}, enroll.Report{Expires: end}, now)
	r.told(identity.Caller{}, enroll.Report{Expires: end.AddDate(1, 0, 0)}, now.Add(-time.Hour))
	for _, p := range r.proxies {
		if p.Ends.Before(end) || p.Ends.After(now.Add(everIssued)) {
			t.Errorf("it ends at %v; said %v", p.Ends, end)
		}
	}
}
