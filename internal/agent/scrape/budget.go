package scrape

import (
	"bytes"
	"errors"
	"hash/maphash"
	"slices"
	"strconv"
	"sync"
)

// A label of a user's choice, such as a path, may give the mesh's metrics any
// number of series. A page has a budget of them. Within it lines are passed on as
// they come, at no cost. When it is reached, the biggest series at that time are
// chosen to stay, and all others of their metric are added up under `other`.
//
// The choice stands until the page would be within its budget again: would a
// series leave `other` because it has grown, the sum would fall, and who reads a
// counter takes that for a restart and counts all of it once more. For the same
// reason the page on which the budget is reached has no `other` yet: series that
// were on it already would be added to the sum later. That page alone has more than
// the budget, by what stays.

// Other is what a label says whose series are added up.
const other = "other"

// Shares of a budget, in per cent; the rest is for `other`.
const (
	keptShare  = 70
	spareShare = 10 // for what comes later of metrics that were not cut
)

// budget bounds Envoy's part of the page. Its methods may be called at once.
type budget struct {
	max  int    // samples
	over func() // told of each that is not shown by itself

	mu   sync.Mutex
	plan *plan // nil: everything is shown
}

// plan says what is shown by itself, and how the rest is added up.
type plan struct {
	kept     map[uint64]struct{}
	spare    int // samples
	families map[string]*cutting
}

// cutting is how one metric is added up.
type cutting struct {
	levels [][]string // labels that become `other`, those with the most values first
	level  int        // the last of levels that do
	lines  int        // of one series: a histogram's has many
	limit  int        // lines of `other`
	cut    bool       // not all of it is kept
}

// folding says which labels of a metric become `other`.
type folding struct {
	labels []string
	all    bool // so that it has one sum, whatever labels it has
}

// folding is by all labels beyond the last level, and for a metric that has none.
func (c *cutting) folding() folding {
	return folding{slices.Concat(c.levels[:min(c.level+1, len(c.levels))]...), c.level >= len(c.levels)}
}

func (f folding) has(name []byte) bool {
	return f.all && string(name) != "le" || slices.Contains(f.labels, string(name))
}

// total is a sample of `other`.
type total struct {
	head  []byte
	value float64
}

// pass is one page of Envoy's on its way.
type pass struct {
	*budget
	out   lineWriter
	probe func() (*plan, error)
	now   *plan // as it stood when the page began
	late  bool  // the budget was reached on this page
	seen  int

	family string
	fold   folding
	sums   map[uint64]*total // of family
	order  []*total
	tight  []*cutting // whose `other` is too long
}

func (b *budget) pass(out lineWriter, probe func() (*plan, error)) *pass {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &pass{budget: b, out: out, probe: probe, now: b.plan, sums: map[uint64]*total{}}
}

// line is a lineWriter.
func (p *pass) line(line []byte) error {
	if !bytes.HasPrefix(line, prefix) {
		if err := p.flush(); err != nil {
			return err
		}
		return p.out(line)
	}
	if p.seen++; p.now == nil && p.seen <= p.max {
		return p.out(line)
	}
	if err := p.reached(); err != nil {
		return err
	}
	s := seriesOf(line)
	if err := p.enter(s.family, s.lines()); err != nil {
		return err
	}
	if p.shown(s) {
		return p.out(line)
	}
	if p.over(); !p.late {
		p.add(s)
	}
	return nil
}

// reached makes a plan, where there is none, of the whole page, some of which has
// gone out.
func (p *pass) reached() error {
	if p.now != nil {
		return nil
	}
	made, err := p.probe()
	if !passed(err) && !errors.Is(err, errTooBig) { // lines that no page has need no plan
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.plan == nil {
		p.plan = made
	}
	p.now, p.late = p.plan, true
	return nil
}

// enter begins a metric. Its first series would have so many lines.
func (p *pass) enter(family []byte, lines int) error {
	if string(family) == p.family {
		return nil
	}
	if err := p.flush(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.family = string(family)
	if p.now.families[p.family] == nil { // it was not there when the plan was made
		p.now.families[p.family] = &cutting{lines: lines}
	}
	p.fold = p.now.families[p.family].folding()
	return nil
}

// shown says whether a series stands for itself. What comes later of a metric that
// is not cut does while there is room.
func (p *pass) shown(s series) bool {
	if bytes.Contains(s.head, []byte(`="`+other+`"`)) && s.sum(p.fold) == s.sum(folding{}) {
		return false // else it would be there twice
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	id, c := s.id(), p.now.families[p.family]
	_, kept := p.now.kept[id]
	if !kept && !c.cut && p.now.spare >= c.lines {
		p.now.spare -= c.lines
		p.now.kept[id], kept = struct{}{}, true
	}
	return kept
}

// add adds a sample to that of `other`. Where that has too many series of its own,
// more labels will be `other` from the next page on.
func (p *pass) add(s series) {
	v, err := strconv.ParseFloat(string(s.value), 64)
	if err != nil {
		return // no number, no sample
	}
	key := s.sum(p.fold)
	of := p.sums[key]
	if of == nil {
		if c := p.cutting(); !p.fold.all && len(p.order) >= c.limit {
			if !slices.Contains(p.tight, c) {
				p.tight = append(p.tight, c)
			}
			return
		}
		of = &total{head: s.folded(p.fold)}
		p.sums[key], p.order = of, append(p.order, of)
	}
	of.value += v
}

func (p *pass) cutting() *cutting {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now.families[p.family]
}

// flush ends a metric.
func (p *pass) flush() error {
	for _, of := range p.order {
		if err := p.out(append(strconv.AppendFloat(append(of.head, ' '), of.value, 'f', -1, 64), '\n')); err != nil {
			return err
		}
	}
	p.forget()
	return nil
}

// forget leaves out what is added up of a metric that broke off: less than before,
// it would be taken for a restart.
func (p *pass) forget() {
	clear(p.sums)
	p.order, p.family = p.order[:0], ""
}

// end ends the page. whole says that nothing of it was left out, by a filter or a
// failure: if it is within the budget then, Envoy has begun anew or counts by fewer
// labels, and everything is shown again.
func (p *pass) end(whole bool) error {
	err := p.flush()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.tight {
		if c.level < len(c.levels) {
			c.level++
		}
	}
	if whole && err == nil && p.seen <= p.max && p.plan == p.now {
		p.plan = nil
	}
	return err
}

// series is a sample of Envoy's.
type series struct{ family, head, value []byte }

// seriesOf takes a line as Envoy writes it apart.
func seriesOf(line []byte) series {
	at := bytes.LastIndexByte(line, '}') + 1
	name, _, _ := bytes.Cut(line, []byte("{"))
	if at == 0 {
		name, _, _ = bytes.Cut(line, []byte(" "))
		at = len(name)
	}
	s := series{head: line[:at], value: bytes.TrimSpace(line[at:])}
	s.family = familyOf(name)
	return s
}

// familyOf is the metric that a sample is part of: the samples of a histogram or a
// summary share one.
func familyOf(name []byte) []byte {
	for _, part := range []string{"_bucket", "_count", "_sum"} {
		if family, found := bytes.CutSuffix(name, []byte(part)); found {
			return family
		}
	}
	return name
}

var seed = maphash.MakeSeed()

// histogramLines are those of a series with Envoy's own buckets.
const histogramLines = 22

// lines is how many a series has whose first line this is.
func (s series) lines() int {
	if bytes.HasPrefix(s.head[len(s.family):], []byte("_bucket")) {
		return histogramLines
	}
	return 1
}

// id is the same for all lines of a histogram or a summary, and in whatever order
// labels are: Envoy has its own, and the agent another.
func (s series) id() uint64 {
	id := maphash.Bytes(seed, s.family)
	s.each(func(name, value []byte) {
		if n := string(name); n != "le" && n != "quantile" {
			id += labelled(name, value)
		}
	})
	return id
}

// sum is the same for the lines that are added up to one, in whatever order labels
// are.
func (s series) sum(fold folding) uint64 {
	name, _, _ := bytes.Cut(s.head, []byte("{"))
	id := maphash.Bytes(seed, name)
	s.each(func(name, value []byte) {
		if fold.has(name) {
			value = quotedOther
		}
		id += labelled(name, value)
	})
	return id
}

var quotedOther = []byte(`"` + other + `"`)

func labelled(name, value []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.Write(name)
	_, _ = h.Write(value)
	return h.Sum64()
}

// each gives the labels, their values in quotes; false: some cannot be read.
func (s series) each(do func(name, value []byte)) bool {
	_, rest, _ := bytes.Cut(s.head, []byte("{"))
	for {
		name, quoted, found := bytes.Cut(rest, []byte("="))
		n := quotedLength(quoted)
		if !found || n < 0 {
			return len(rest) <= len("}")
		}
		do(name, quoted[:n])
		rest = bytes.TrimPrefix(quoted[n:], []byte(","))
	}
}

// folded is the head with `other` for the values of some labels.
func (s series) folded(fold folding) []byte {
	name, _, _ := bytes.Cut(s.head, []byte("{"))
	out := append(bytes.Clone(name), '{')
	s.each(func(name, value []byte) {
		if out[len(out)-1] != '{' {
			out = append(out, ',')
		}
		out = append(append(out, name...), '=')
		if fold.has(name) {
			value = quotedOther
		}
		out = append(out, value...)
	})
	return append(out, '}')
}
