package dashboard

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/weftmesh/weft/internal/stream"
	"github.com/weftmesh/weft/internal/tap"
)

// Tapped is whose requests GET /api/tap shows as they end.
type Tapped struct {
	Kind, Namespace, Name string // Kind: workload, service or pod
	Filter                tap.Filter
}

// maxTaps bounds the pages that watch requests at a time: each keeps proxies
// telling, and a connection to each.
const maxTaps = 4

// serveTap sends a JSON object a line, tap.Entry with the pod that tells it, until
// the page goes. What is to be said is a line {"notice": "..."}, and why it ends
// the last one: {"error": "..."}.
func (d *Dashboard) serveTap(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	filter, err := tap.Parse(q)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case d.taps <- struct{}{}:
		defer func() { <-d.taps }()
	default:
		http.Error(w, fmt.Sprintf("%d pages watch requests already: stop one of them", maxTaps), http.StatusTooManyRequests)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := stream.To(w)
	if out.Begin() != nil {
		return // it has gone
	}
	err = d.options.Tap(r.Context(), Tapped{Kind: q.Get("kind"), Namespace: q.Get("namespace"), Name: q.Get("name"), Filter: filter}, out)
	if err != nil && r.Context().Err() == nil {
		text, _ := json.Marshal(map[string]string{"error": err.Error()}) // a string: it cannot fail
		_, _ = out.Write(append(text, '\n'))                             // who asked has gone
	}
}
