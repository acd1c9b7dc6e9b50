package load

import (
	"slices"
	"strconv"
	"time"

	"github.com/weftmesh/weft/samples/bookshop/shop"
)

// maxErrors bounds how many different errors a report quotes.
const maxErrors = 5

// Report counts the outcomes of HTTP requests. The zero value is empty. It is
// not safe for concurrent use.
type Report struct {
	Total  int `json:"total"`
	Failed int `json:"failed"`
	// ByStatus has the key "none" for requests without an answer.
	ByStatus map[string]int `json:"byStatus"`
	// Services has each service that took part in an answer, by its name.
	Services map[string]*Seen `json:"services"`
	// P50 and P99 are milliseconds until the answer was read.
	P50 float64 `json:"p50ms"`
	P99 float64 `json:"p99ms"`
	// Errors are the first few different errors.
	Errors []string `json:"errors,omitempty"`

	took []time.Duration
}

// Seen counts the answers of one service.
type Seen struct {
	ByVersion map[string]int `json:"byVersion"`
	ByPod     map[string]int `json:"byPod"`
}

// Add counts one outcome.
func (r *Report) Add(o Outcome) {
	if r.ByStatus == nil {
		r.ByStatus, r.Services = map[string]int{}, map[string]*Seen{}
	}
	r.Total++
	r.took = append(r.took, o.Took)
	status := "none"
	if o.Status != 0 {
		status = strconv.Itoa(o.Status)
	}
	r.ByStatus[status]++
	if o.Failed() {
		r.Failed++
		r.Errors = quote(r.Errors, o)
	}
	o.Answer.Each(r.see)
}

// Finish fills in the percentiles and returns the report.
func (r *Report) Finish() *Report {
	r.P50, r.P99 = percentiles(r.took)
	return r
}

// see counts who answered. An answer without a pod is a proxy's, or none.
func (r *Report) see(a shop.Answer) {
	if a.Pod == "" {
		return
	}
	seen := r.Services[a.Service]
	if seen == nil {
		seen = &Seen{ByVersion: map[string]int{}, ByPod: map[string]int{}}
		r.Services[a.Service] = seen
	}
	seen.ByVersion[a.Version]++
	seen.ByPod[a.Pod]++
}

func quote(errors []string, o Outcome) []string {
	text := o.Answer.Error
	if o.Err != nil {
		text = o.Err.Error()
	}
	return quoteText(errors, text)
}

func quoteText(errors []string, text string) []string {
	if len(errors) >= maxErrors || slices.Contains(errors, text) {
		return errors
	}
	return append(errors, text)
}

// percentiles returns the 50th and 99th percentile in milliseconds, by nearest
// rank; both are 0 for no value.
func percentiles(took []time.Duration) (p50, p99 float64) {
	if len(took) == 0 {
		return 0, 0
	}
	sorted := slices.Sorted(slices.Values(took))
	at := func(percent int) float64 {
		rank := (len(sorted)*percent + 99) / 100
		return float64(sorted[max(rank, 1)-1].Microseconds()) / 1000
	}
	return at(50), at(99)
}
