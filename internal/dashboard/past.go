package dashboard

import (
	"math"
	"slices"
	"time"

	"github.com/weftmesh/weft/internal/figures"
)

// step is between two points of a chart.
const step = 10 * time.Second

// maxRows bounds the rows that are remembered: 50 MB at most. Those that come
// later have no chart until others are forgotten.
const maxRows = 4000

// remembered are the kinds of rows that have charts.
var remembered = []figures.Kind{figures.Workloads, figures.Pods, figures.Services}

type rowName struct {
	kind            figures.Kind
	namespace, name string
}

// past is how rows went, a point for each step.
type past struct {
	rows map[rowName][]dot
	last Look // at the end of the newest step
}

// dot is a Point in little memory; NaN is null.
type dot struct {
	at     time.Time
	values [8]float32 // in the order of Point
}

func newPast() past { return past{rows: map[rowName][]dot{}} }

// add ends a step, where it is time to.
func (p *past) add(l Look) {
	passed := l.At.Sub(p.last.At)
	if p.last.Samples == nil || passed < 0 {
		p.last = l
		return
	}
	if passed < step-step/10 {
		return
	}
	deltas := l.Samples.Since(p.last.Samples)
	p.last = l
	for _, kind := range remembered {
		for _, row := range figures.Rows(kind, l.Pods, deltas) {
			p.put(rowName{kind, row.Namespace, row.Name}, dotOf(l.At, row.Figures))
		}
	}
	for name, dots := range p.rows {
		if l.At.Sub(dots[len(dots)-1].at) > kept {
			delete(p.rows, name)
		}
	}
}

func (p *past) put(name rowName, d dot) {
	dots, there := p.rows[name]
	if !there && len(p.rows) >= maxRows {
		return
	}
	for len(dots) > 0 && d.at.Sub(dots[0].at) > kept {
		dots = dots[1:]
	}
	p.rows[name] = append(dots, d)
}

func dotOf(at time.Time, f figures.Figures) dot {
	d := dot{at: at}
	var latency [3]*float64
	if l := f.Latency; l != nil {
		latency = [3]*float64{&l.P50, &l.P95, &l.P99}
	}
	for i, v := range []*float64{f.RequestRate, f.SuccessRate, latency[0], latency[1], latency[2], f.ReceivedRate, f.SentRate, f.ConnectionRate} {
		d.values[i] = float32(math.NaN())
		if v != nil {
			d.values[i] = float32(*v)
		}
	}
	return d
}

// points are those of a row.
func (m *memory) points(name rowName) []Point {
	out := []Point{}
	for _, d := range m.past.rows[name] {
		p := Point{At: d.at}
		for i, value := range d.values {
			if v := float64(value); !math.IsNaN(v) && !math.IsInf(v, 0) {
				p.Set(i, v)
			}
		}
		out = append(out, p)
	}
	return out
}

// countedBy is who counts a row, as the newest of looks has it.
func countedBy(looks []Look, name rowName) string {
	if len(looks) == 0 {
		return ""
	}
	last := looks[len(looks)-1]
	rows := figures.Rows(name.kind, last.Pods, last.Samples.All())
	if at := slices.IndexFunc(rows, func(r figures.Row) bool { return r.Namespace == name.namespace && r.Name == name.name }); at >= 0 {
		return rows[at].By
	}
	return ""
}

// Set says one of a point's figures, by its place among them.
func (p *Point) Set(place int, value float64) {
	*[]**float64{&p.Rate, &p.Success, &p.P50, &p.P95, &p.P99, &p.Received, &p.Sent, &p.TCP}[place] = &value
}
