package local

import (
	"fmt"
	"testing"
	"time"
)

// overflowIsSeen: which limit was met, by whom, how often, since when, and which field
// says it. Since when is said for a minute.
func (m *running) overflowIsSeen(t *testing.T, began time.Time) {
	t.Helper()
	callers, err := m.PodsOf(t.Context(), "front")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the limit that was met is seen", func() error {
		var got struct {
			Overflows []struct {
				Service, Port, Subset, Caller, Limit, Field string
				Allowed, Times                              float64
				Since                                       time.Time
			}
		}
		if err := told(t, m, &got, "endpoints"); err != nil {
			return err
		}
		if len(got.Overflows) != 1 {
			return fmt.Errorf("limits %+v, want one", got.Overflows)
		}
		o := got.Overflows[0]
		if o.Service != "slow.default.svc.cluster.local" || o.Port != "80" || o.Caller != "default/"+callers[0].Name || o.Limit != "requests" ||
			o.Field != "connectionPool.http.http2MaxRequests" || o.Allowed != 1 || o.Times != overflowed || o.Since.Before(began) || o.Since.After(time.Now()) {
			return fmt.Errorf("limit %+v", o)
		}
		return nil
	})
}
