package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/weftmesh/weft/internal/figures"
)

// metLimit is a limit of a circuit breaker that a proxy meets, or has met.
type metLimit struct {
	by string // NAMESPACE/POD
	figures.Overflow
}

func (m metLimit) compare(o metLimit) int {
	return cmp.Or(cmp.Compare(m.Service, o.Service), cmp.Compare(m.Port, o.Port), cmp.Compare(m.Subset, o.Subset), cmp.Compare(m.Limit.Limit, o.Limit.Limit), cmp.Compare(m.by, o.by))
}

// overflow is a limit that a caller met, and which field to raise.
type overflow struct {
	Service string    `json:"service"` // its host
	Port    string    `json:"port"`
	Subset  string    `json:"subset,omitempty"`
	Caller  string    `json:"caller"` // NAMESPACE/POD
	Limit   string    `json:"limit"`  // connections, pending_requests, requests, retries
	Allowed float64   `json:"allowed,omitempty"`
	Times   float64   `json:"times"` // since the caller's agent started
	Since   time.Time `json:"since,omitzero"`
	Field   string    `json:"field,omitempty"` // of a DestinationRule's trafficPolicy
}

// overflowsOf are those towards services whose host begins so.
func overflowsOf(all []metLimit, name, namespace string) []overflow {
	out := []overflow{}
	for _, m := range all {
		if !strings.HasPrefix(m.Service, name) || namespace != "" && !ofNamespace(m.Service, namespace) {
			continue
		}
		out = append(out, overflow{m.Service, m.Port, m.Subset, m.by, m.Limit.Limit, m.Allowed, m.Times, m.Since, m.Field()})
	}
	return out
}

// ofNamespace says whether a host is a Service's of that namespace.
func ofNamespace(host, namespace string) bool {
	labels := strings.Split(host, ".")
	return len(labels) > 2 && labels[1] == namespace && labels[2] == "svc"
}

func overflowTable(all []overflow, now time.Time) [][]string {
	rows := [][]string{{"SERVICE", "PORT", "SUBSET", "CALLER", "LIMIT", "OF", "TIMES", "SINCE", "RAISE"}}
	for _, o := range all {
		of := ""
		if o.Allowed > 0 {
			of = fmt.Sprintf("%.0f", o.Allowed)
		}
		rows = append(rows, []string{o.Service, o.Port, o.Subset, o.Caller, strings.ReplaceAll(o.Limit, "_", " "), of, fmt.Sprintf("%.0f", o.Times), sinceText(o.Since, now), o.Field})
	}
	return rows
}
