package figures

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// The agent's metrics of circuit breakers whose limits are met.
const (
	overflowsTotal   = "weft_upstream_overflows_total"
	overflowingAt    = "weft_upstream_overflowing_timestamp_seconds"
	overflowingLimit = "weft_upstream_overflowing_limit"
)

// Bounds of what is read, since a pod's page may say anything: an agent has series for
// 100 limits and one for the others, and a cluster's name has a host, a port and a subset.
const (
	maxOverflows = 101
	maxNamed     = 600 // bytes of the three
)

// Limit names what a circuit breaker bounds. All but Limit may be anything.
type Limit struct {
	Service, Port, Subset string // Service is a host, or the name of a cluster that is none's
	Limit                 string // connections, pending_requests, requests, retries; other
}

// Overflow is a limit that one proxy meets, or has met since its agent started.
type Overflow struct {
	Limit
	Times   float64   // that it was met
	Allowed float64   // its value; 0: not known
	Since   time.Time // it is met; zero: not in the last minute
}

func (s *Sample) overflow(name string, m *dto.Metric) {
	l := labelsOf(m)
	key := Limit{l["destination_service"], l["destination_port"], l["destination_subset"], l["limit"]}
	if len(key.Limit) > maxReason {
		key.Limit = strings.Clone(key.Limit[:maxReason]) // else the whole is kept with it
	}
	if len(key.Service)+len(key.Port)+len(key.Subset) > maxNamed {
		return
	}
	at := slices.IndexFunc(s.Overflows, func(o Overflow) bool { return o.Limit == key })
	if at < 0 {
		if len(s.Overflows) >= maxOverflows {
			return
		}
		at, s.Overflows = len(s.Overflows), append(s.Overflows, Overflow{Limit: key})
	}
	switch o := &s.Overflows[at]; name {
	case overflowsTotal:
		o.Times = countable(m.GetCounter().GetValue())
	case overflowingLimit:
		o.Allowed = countable(m.GetGauge().GetValue())
	case overflowingAt:
		o.Since = timeOf(m.GetGauge().GetValue())
	}
}

// timeOf is the zero time of a value that can be none.
func timeOf(seconds float64) time.Time {
	if seconds > 0 && seconds < 2*math.MaxInt32 {
		return time.UnixMilli(int64(seconds * 1000)).UTC()
	}
	return time.Time{}
}

// sortOverflows puts overflows into an order of their own.
func sortOverflows(all []Overflow) {
	slices.SortFunc(all, func(a, b Overflow) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Subset, b.Subset), cmp.Compare(a.Limit.Limit, b.Limit.Limit))
	})
}

// Field is the field of a DestinationRule's trafficPolicy that says the limit; ""
// of what is none of those that are known, and of a cluster that is no service's, such
// as that of the pod's own port. Source: istio.io/api, ConnectionPoolSettings.
func (l Limit) Field() string {
	if l.Port == "" {
		return ""
	}
	switch l.Limit {
	case "connections":
		return "connectionPool.tcp.maxConnections"
	case "pending_requests":
		return "connectionPool.http.http1MaxPendingRequests"
	case "requests":
		return "connectionPool.http.http2MaxRequests"
	case "retries":
		return "connectionPool.http.maxRetries"
	}
	return ""
}
