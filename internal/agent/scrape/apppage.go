package scrape

import (
	"bytes"
	"cmp"
	"slices"
	"sync"
	"unicode/utf8"
)

// Why lines of an app's page are left out.
const (
	reservedName = "reserved" // it has a name of the mesh's: whoever reads the page takes those for the proxy's word
	invalidLine  = "invalid"  // no reader would take the page with it
	overBudget   = "budget"
)

// appPage is one page of the app's on its way.
type appPage struct {
	out  *formatter
	room *room
	drop func(reason string)

	began map[string]bool // metrics that have samples or comments already
	kinds map[string]string
	last  string // metric of the line before
}

// line is a lineWriter.
func (a *appPage) line(line []byte) error {
	switch text := bytes.TrimSpace(line); {
	case len(text) == 0 || bytes.HasPrefix(text, []byte("# EOF")): // more may follow
		return nil
	case ofMesh(line):
		a.drop(reservedName)
		return nil
	case text[0] == '#':
		return a.comment(line)
	}
	s, ok := parseSample(line)
	if !ok || s.time != nil && a.out.from == plain && bytes.ContainsAny(s.time, ".eE") || !a.bounded(s) {
		a.drop(invalidLine)
		return nil
	}
	if !a.room.admits(s) {
		a.drop(overBudget)
		return nil
	}
	a.enter(s.name)
	return a.out.sample(s)
}

// enter notes that a metric has begun.
func (a *appPage) enter(name []byte) {
	if string(name) != a.last {
		a.last = string(name)
		a.began[a.last], a.began[string(familyOf(name))] = true, true
	}
}

// bounds are the labels that say what a histogram's or a summary's sample is of.
var bounds = map[string]string{"histogram": "le", "gaugehistogram": "le", "summary": "quantile"}

// bounded says whether a bucket or a quantile, of a metric that has such, is of a
// number.
func (a *appPage) bounded(s sample) bool {
	of := bounds[cmp.Or(a.kinds[string(s.name)], a.kinds[string(familyOf(s.name))])]
	if of == "" {
		return true
	}
	sound := true
	(series{head: s.labels}).each(func(name, value []byte) {
		sound = sound && (string(name) != of || isNumber(bytes.Trim(value, `"`)))
	})
	return sound
}

// kinds are the types of both formats.
var kinds = map[format][]string{
	plain:       {"counter", "gauge", "histogram", "summary", "untyped"},
	openMetrics: {"counter", "gauge", "histogram", "summary", "unknown", "info", "stateset", "gaugehistogram"},
}

// commented is how many names and comments a page may have for each sample of its
// budget: a metric of one sample has its name and three comments.
const commented = 4

// comment passes on those about metrics that have not begun: strict readers take no
// others.
func (a *appPage) comment(line []byte) error {
	word, name, text, ok := commentOf(line)
	switch {
	case !utf8.Valid(line):
		a.drop(invalidLine)
		return nil
	case !ok && a.out.to == plain && a.out.from == plain: // nobody reads it
		return a.out.pass(bytes.TrimSpace(line))
	case !ok:
		return nil
	case len(a.began) >= commented*a.room.max:
		a.drop(overBudget)
		return nil
	}
	sound := (nameLength(name, true) == len(name) || quotedLength(name) == len(name)) && !a.began[string(name)] && !a.began[word+string(name)]
	if word == "TYPE" {
		sound = sound && slices.Contains(kinds[a.out.from], string(text))
		if sound {
			a.kinds[string(name)] = string(text)
		}
	} else {
		sound = sound && escapes(text, a.out.from)
	}
	if !sound {
		a.drop(invalidLine)
		return nil
	}
	a.began[word+string(name)] = true
	return a.out.comment(word, name, text)
}

// escapes says whether a help text has no other escapes than its format's.
func escapes(text []byte, in format) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if i++; i == len(text) || text[i] != '\\' && text[i] != 'n' && (in == plain || text[i] != '"') {
			return false
		}
	}
	return true
}

// admission is the budget of the app's part. What the app's samples mean is not
// known, so that none can be added up: those beyond the budget are left out, and the
// series that were there before stay.
type admission struct {
	max int // samples

	mu   sync.Mutex
	kept map[uint64]struct{} // nil: all
	free int                 // samples, for series that are not kept
}

// room is what one page has of it.
type room struct {
	*admission
	kept map[uint64]struct{} // as it was when the page began; nil: all
	free int
	all  int

	shown map[uint64]struct{}
	lines int
}

func (a *admission) room() *room {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &room{admission: a, kept: a.kept, free: a.free, shown: map[uint64]struct{}{}}
}

// admits says whether a sample is shown. All of a histogram, or none, is.
func (r *room) admits(s sample) bool {
	r.all++
	id := series{family: familyOf(s.name), head: s.labels}.id()
	_, now := r.shown[id]
	_, before := r.kept[id]
	switch {
	case before:
	case r.kept != nil && (now || r.free > 0):
		r.free--
	case now, r.kept == nil && r.lines < r.max:
	default:
		return false
	}
	r.shown[id] = struct{}{}
	r.lines++
	return true
}

// end ends the page: what it had stays, and what it has no more makes room. Of a
// page that broke off nothing is learnt.
func (r *room) end(whole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !whole {
		return
	}
	if r.admission.kept, r.admission.free = nil, 0; r.all > r.max {
		r.admission.kept, r.admission.free = r.shown, r.max-r.lines
	}
}
