package scrape

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
)

// survey is what a plan is made of: a whole page.
type survey struct{ families map[string]*surveyed }

// surveyed is one metric.
type surveyed struct {
	name   string
	lines  int
	sizes  map[uint64]float64             // of each series: how much it has counted
	values map[string]map[uint64]struct{} // of each label
}

// line is a lineWriter.
func (v *survey) line(line []byte) error {
	if !bytes.HasPrefix(line, prefix) {
		return nil
	}
	s := seriesOf(line)
	f := v.families[string(s.family)]
	if f == nil {
		f = &surveyed{name: string(s.family), sizes: map[uint64]float64{}, values: map[string]map[uint64]struct{}{}}
		v.families[f.name] = f
	}
	f.lines++
	id := s.id()
	if _, there := f.sizes[id]; !there {
		f.sizes[id] = 0
		s.each(f.note)
	}
	if name, _, _ := bytes.Cut(s.head, []byte("{")); !bytes.HasSuffix(name, []byte("_bucket")) && !bytes.HasSuffix(name, []byte("_sum")) {
		if n, err := strconv.ParseFloat(string(s.value), 64); err == nil {
			f.sizes[id] = n
		}
	}
	return nil
}

func (f *surveyed) note(name, value []byte) {
	all := f.values[string(name)]
	if all == nil {
		all = map[uint64]struct{}{}
		f.values[string(name)] = all
	}
	all[maphash.Bytes(seed, value)] = struct{}{}
}

// plan shares a budget among metrics: small ones have what they need, and large
// ones the same each of what is left.
func (v *survey) plan(budget int) *plan {
	out := &plan{kept: map[uint64]struct{}{}, spare: budget * spareShare / 100, families: map[string]*cutting{}}
	all := slices.SortedFunc(maps.Values(v.families), func(a, b *surveyed) int {
		return cmp.Or(cmp.Compare(a.lines, b.lines), cmp.Compare(a.name, b.name))
	})
	left, others := budget*keptShare/100, budget*(100-keptShare-spareShare)/100
	for i, f := range all {
		share := left / (len(all) - i)
		c := &cutting{levels: f.levels(), lines: (f.lines + len(f.sizes) - 1) / len(f.sizes), cut: f.lines > share, limit: max(others/len(all), 1)}
		kept := f.largest(share / c.lines)
		for _, id := range kept {
			out.kept[id] = struct{}{}
		}
		left -= min(len(kept)*c.lines, left)
		out.families[f.name] = c
	}
	return out
}

// largest are the n series that have counted most.
func (f *surveyed) largest(n int) []uint64 {
	ids := slices.SortedFunc(maps.Keys(f.sizes), func(a, b uint64) int {
		return cmp.Or(cmp.Compare(f.sizes[b], f.sizes[a]), cmp.Compare(a, b))
	})
	return ids[:min(n, len(ids))]
}

// levels are labels with more than one value, those of about as many together: all
// names of a destination, for one, differ at once.
func (f *surveyed) levels() (out [][]string) {
	delete(f.values, "le")
	names := slices.SortedFunc(maps.Keys(f.values), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(f.values[b]), len(f.values[a])), cmp.Compare(a, b))
	})
	most := 0
	for _, name := range names {
		n := len(f.values[name])
		if n < 2 {
			break
		}
		if most == 0 || n < most/2 {
			out, most = append(out, nil), n
		}
		out[len(out)-1] = append(out[len(out)-1], name)
	}
	return out
}
