package local

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/figures"
)

// told reads what a command prints as JSON.
func told(t *testing.T, m *running, into any, args ...string) error {
	t.Helper()
	out, err := weft(t.Context(), m, append(args, "--name", m.Name, "-o", "json")...)
	if err != nil {
		return fmt.Errorf("weft %s: %w: %s", strings.Join(args, " "), err, out)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("weft %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// counted is what a row must count.
type counted struct {
	kind, name            string
	requests, connections float64
	secure                float64 // share by mutual TLS; -1: nobody tells
}

// figuresAgree wants what `weft stat` and `weft edges` say to be what was sent.
func figuresAgree(t *testing.T, m *running, want []counted, edges map[string]float64) {
	t.Helper()
	eventually(t, 30*time.Second, "weft stat counts what was sent", func() error {
		rows := map[string]figures.Row{}
		for _, kind := range figures.Kinds() {
			var got struct{ Rows []figures.Row }
			if err := told(t, m, &got, "stat", string(kind), "--window", "0"); err != nil {
				return err
			}
			for _, r := range got.Rows {
				rows[string(kind)+" "+r.Name] = r
			}
		}
		for _, w := range want {
			r, there := rows[w.kind+" "+w.name]
			secure := -1.0
			if r.MutualTLS != nil {
				secure = *r.MutualTLS
			}
			if !there || r.Requests != w.requests || r.Connections != w.connections || secure != w.secure || r.Failed != 0 {
				return fmt.Errorf("want %+v, there is %+v, mutual TLS %v", w, r, secure)
			}
			if r.Requests > 0 && (r.Latency == nil || r.Latency.P50 <= 0 || r.Latency.P50 > r.Latency.P99) {
				return fmt.Errorf("%s %s: latency %+v", w.kind, w.name, r.Latency)
			}
		}
		return nil
	})
	eventually(t, 30*time.Second, "weft edges knows who calls whom", func() error {
		var got struct{ Edges []figures.Edge }
		if err := told(t, m, &got, "edges"); err != nil {
			return err
		}
		left := len(edges)
		for _, e := range got.Edges {
			name := fmt.Sprintf("%s>%s", e.From.Identity, e.To.Workload)
			if n, is := edges[name]; is && e.Requests+e.Connections == n {
				left--
			}
		}
		if left > 0 {
			return fmt.Errorf("of %v there is %+v", edges, got.Edges)
		}
		return nil
	})
}
