package cli

import (
	"fmt"
	"math"
	"slices"

	"github.com/weftmesh/weft/internal/figures"
)

// longestName bounds a name in a table.
const longestName = 60

// column of a table of figures.
type column struct {
	name  string // for --sort
	head  string
	kinds []figures.Kind                    // that have it; nil: all
	cell  func(r figures.Row) string        // "" is shown as a dash
	value func(r figures.Row) float64       // to sort by, biggest first; NaN: not known; nil: by name
	total func(r figures.Row) (text string) // the cell where figures are since the proxies' start; nil: as cell
	since string                            // and its head
}

var (
	ofPods   = []figures.Kind{figures.Workloads, figures.Pods}
	ofRoutes = []figures.Kind{figures.Routes}
)

// columns of all tables of figures, in their order.
var columns = []column{
	{name: "namespace", head: "NAMESPACE", cell: func(r figures.Row) string { return r.Namespace }},
	{name: "name", head: "NAME", cell: func(r figures.Row) string { return r.Name }},
	{name: "to", head: "TO", kinds: ofRoutes, cell: func(r figures.Row) string { return r.To }},
	{name: "version", head: "VERSION", kinds: ofRoutes, cell: func(r figures.Row) string { return r.Version }},
	{name: "share", head: "SHARE", kinds: ofRoutes, cell: func(r figures.Row) string { return percent(r.Share) }, value: func(r figures.Row) float64 { return or(r.Share) }},
	{name: "success", head: "SUCCESS", cell: func(r figures.Row) string { return percent(r.SuccessRate) }, value: func(r figures.Row) float64 { return -or(r.SuccessRate) }},
	{name: "rps", head: "RPS", cell: func(r figures.Row) string { return perSecond(r.RequestRate) }, value: rate,
		since: "REQUESTS", total: func(r figures.Row) string { return fmt.Sprintf("%.0f", r.Requests) }},
	{name: "p50", head: "P50", cell: func(r figures.Row) string { return milliseconds(quantile(r, 0)) }, value: func(r figures.Row) float64 { return quantile(r, 0) }},
	{name: "p95", head: "P95", cell: func(r figures.Row) string { return milliseconds(quantile(r, 1)) }, value: func(r figures.Row) float64 { return quantile(r, 1) }},
	{name: "p99", head: "P99", cell: func(r figures.Row) string { return milliseconds(quantile(r, 2)) }, value: func(r figures.Row) float64 { return quantile(r, 2) }},
	{name: "in", head: "IN/S", cell: func(r figures.Row) string { return size(or(r.ReceivedRate)) }, value: func(r figures.Row) float64 { return r.Received },
		since: "IN", total: func(r figures.Row) string { return size(r.Received) }},
	{name: "out", head: "OUT/S", cell: func(r figures.Row) string { return size(or(r.SentRate)) }, value: func(r figures.Row) float64 { return r.Sent },
		since: "OUT", total: func(r figures.Row) string { return size(r.Sent) }},
	{name: "conns", head: "TCP/S", cell: func(r figures.Row) string { return perSecond(r.ConnectionRate) }, value: func(r figures.Row) float64 { return r.Connections },
		since: "TCP", total: func(r figures.Row) string { return fmt.Sprintf("%.0f", r.Connections) }},
	{name: "mtls", head: "MTLS", cell: func(r figures.Row) string { return percent(r.MutualTLS) }, value: func(r figures.Row) float64 { return -or(r.MutualTLS) }},
	{name: "ejected", head: "EJECTED", kinds: ofPods, cell: ejectedCell, value: func(r figures.Row) float64 { return float64(ejectedOf(r)) }},
	{name: "by", head: "COUNTED BY", kinds: ofPods, cell: func(r figures.Row) string { return r.By }},
}

// columnNames are those to sort by.
func columnNames() []string {
	out := []string{"name"}
	for _, c := range columns {
		if c.value != nil {
			out = append(out, c.name)
		}
	}
	return out
}

// shown are the columns of a kind.
func shown(kind figures.Kind) (out []column) {
	for _, c := range columns {
		if c.kinds == nil || slices.Contains(c.kinds, kind) {
			out = append(out, c)
		}
	}
	return out
}

// figureRows are a table's cells, its head among them. What a workload can name
// itself cannot do anything to the terminal.
func figureRows(w *choice, rows []figures.Row) [][]string {
	all := shown(w.kind)
	head := make([]string, 0, len(all))
	for _, c := range all {
		if c.total != nil && w.window == 0 {
			head = append(head, c.since)
			continue
		}
		head = append(head, c.head)
	}
	out := [][]string{head}
	for _, r := range rows {
		cells := make([]string, 0, len(all))
		for _, c := range all {
			text := c.cell
			if c.total != nil && w.window == 0 {
				text = c.total
			}
			cells = append(cells, dash(figures.Printable(text(r), longestName)))
		}
		out = append(out, cells)
	}
	return out
}

func or(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}

func rate(r figures.Row) float64 {
	if r.RequestRate == nil {
		return r.Requests
	}
	return *r.RequestRate
}

func quantile(r figures.Row, which int) float64 {
	if r.Latency == nil {
		return math.NaN()
	}
	return []float64{r.Latency.P50, r.Latency.P95, r.Latency.P99}[which]
}

func ejectedOf(r figures.Row) int {
	if r.Ejected == nil {
		return 0
	}
	return *r.Ejected
}

func ejectedCell(r figures.Row) string {
	if n := ejectedOf(r); n > 0 {
		return fmt.Sprint(n)
	}
	return ""
}

// percent never rounds up to 100%, nor down to 0%.
func percent(share *float64) string {
	switch {
	case share == nil:
		return ""
	case *share == 1:
		return "100%"
	case *share == 0:
		return "0%"
	}
	return fmt.Sprintf("%.2f%%", min(max(*share*100, 0.01), 99.99))
}

func perSecond(v *float64) string {
	switch {
	case v == nil:
		return ""
	case *v == 0:
		return "0"
	case *v < 10:
		return fmt.Sprintf("%.2f", *v)
	}
	return fmt.Sprintf("%.0f", *v)
}

func milliseconds(v float64) string {
	switch {
	case math.IsNaN(v):
		return ""
	case v < 10:
		return fmt.Sprintf("%.1fms", v)
	case v < 1000:
		return fmt.Sprintf("%.0fms", v)
	}
	return fmt.Sprintf("%.1fs", v/1000)
}

// size is in bytes, by thousands.
func size(v float64) string {
	if math.IsNaN(v) {
		return ""
	}
	units := []string{"B", "kB", "MB", "GB", "TB"}
	for len(units) > 1 && v >= 999.5 {
		v, units = v/1000, units[1:]
	}
	if v < 10 && v != math.Trunc(v) {
		return fmt.Sprintf("%.1f%s", v, units[0])
	}
	return fmt.Sprintf("%.0f%s", v, units[0])
}
