package cli

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/weftmesh/weft/internal/figures"
)

// top is what is shown of which looks.
type top struct {
	choice  *choice
	reverse bool
	filter  string // of a row's NAMESPACE/NAME
	editing bool   // the filter is being typed
	from    int    // the first row shown
	history []look // of the window, oldest first
	failed  error  // of the last look
	width   int
	height  int
}

func newTop(w *choice) *top { return &top{choice: w, width: 80, height: 24} }

// maxHistory bounds the looks that are kept, each with all that all proxies count.
const maxHistory = 64

// add takes a look, and forgets those that are older than the window, save one
// to begin it with. Of too many it keeps the first, the last and every other one.
func (t *top) add(l look) {
	t.history = append(t.history, l)
	for len(t.history) > 2 && l.at.Sub(t.history[1].at) >= t.choice.window {
		t.history = t.history[1:]
	}
	if last := len(t.history) - 1; last >= maxHistory {
		var kept []look
		for i, l := range t.history {
			if i%2 == 0 || i == last {
				kept = append(kept, l)
			}
		}
		t.history = kept
	}
}

// Keys that are no character.
const (
	ctrlC     = "\x03"
	escape    = "\x1b"
	enter     = "\r"
	tab       = "\t"
	backspace = "\x7f"
	keyUp     = "\x1b[A"
	keyDown   = "\x1b[B"
	pageUp    = "\x1b[5~"
	pageDown  = "\x1b[6~"
)

// key does what a key says. Errors: io.EOF to quit, interrupted.
func (t *top) key(key []byte) error {
	switch k := string(key); {
	case k == ctrlC:
		return interrupted
	case t.editing:
		t.edit(k)
	case k == "q":
		return io.EOF
	case k == "/":
		t.editing, t.filter = true, ""
	case k == escape:
		t.filter = ""
	case k == tab:
		all := figures.Kinds()
		t.choice.kind = all[(slices.Index(all, t.choice.kind)+1)%len(all)]
		t.sortBy(0)
	case k == "s":
		t.sortBy(1)
	case k == "S":
		t.sortBy(-1)
	case k == "r":
		t.reverse = !t.reverse
	default:
		t.scroll(k)
	}
	return nil
}

// edit changes the filter.
func (t *top) edit(k string) {
	switch {
	case k == enter:
		t.editing = false
	case k == escape:
		t.editing, t.filter = false, ""
	case k == backspace:
		_, n := utf8.DecodeLastRuneInString(t.filter)
		t.filter = t.filter[:len(t.filter)-n]
	case !strings.HasPrefix(k, escape):
		t.filter = figures.Printable(t.filter+k, longestName)
	}
}

// sortBy goes some columns on, and to one that the kind has.
func (t *top) sortBy(on int) {
	names := []string{"name"}
	for _, c := range shown(t.choice.kind) {
		if c.value != nil {
			names = append(names, c.name)
		}
	}
	at := slices.Index(names, t.choice.sort)
	if at < 0 {
		at = slices.Index(names, "rps")
	}
	t.choice.sort = names[(at+on+len(names))%len(names)]
}

func (t *top) scroll(k string) {
	switch page := max(t.height-headLines-1, 1); k {
	case keyUp:
		t.from--
	case keyDown:
		t.from++
	case pageUp:
		t.from -= page
	case pageDown:
		t.from += page
	}
}

// headLines are above the rows: what this is, the keys, the columns' names.
const headLines = 3

// frame is what the terminal is told to show: never more than fits.
func (t *top) frame() string {
	last := t.history[len(t.history)-1]
	rows := slices.DeleteFunc(t.choice.rows(last, last.since(t.history...)), func(r figures.Row) bool {
		return !strings.Contains(r.Namespace+"/"+r.Name, t.filter)
	})
	if t.reverse {
		slices.Reverse(rows)
	}
	fit := max(t.height-headLines, 0)
	t.from = max(min(t.from, len(rows)-fit), 0)
	lines := append([]string{t.title(last, rows), t.help()}, t.lines(rows)...)
	shown := append(lines[:headLines:headLines], lines[headLines+t.from:]...)
	var out strings.Builder
	out.WriteString("\x1b[H")
	for i, line := range shown[:min(len(shown), t.height)] {
		if i > 0 {
			out.WriteString("\r\n")
		}
		line = cutTo(line, t.width)
		if i == headLines-1 {
			line = "\x1b[1m" + line + "\x1b[0m"
		}
		out.WriteString(line + "\x1b[K")
	}
	out.WriteString("\x1b[J")
	return out.String()
}

// title says what is shown, and what is not.
func (t *top) title(last look, rows []figures.Row) string {
	span := min(last.at.Sub(t.history[0].at).Round(time.Second), t.choice.window)
	if last.counted != nil {
		span = t.choice.window
	}
	out := fmt.Sprintf("weft top: %d %s, last %v, by %s", len(rows), plural(len(rows), strings.TrimSuffix(string(t.choice.kind), "s")), span, t.choice.sort)
	if t.reverse {
		out += " the other way round"
	}
	if last.from != "" {
		out += ", of " + last.from
	}
	switch {
	case t.failed != nil:
		out += "; NOT NOW: " + figures.Printable(t.failed.Error(), 200)
	case len(last.missing) > 0:
		out += fmt.Sprintf("; %d %s not counted: %s", len(last.missing), plural(len(last.missing), "pod"), figures.Printable(last.missing[0], 100))
	}
	return out
}

func (t *top) help() string {
	switch {
	case t.editing:
		return "filter: " + t.filter + "_  Enter keeps it, Esc drops it"
	case t.filter != "":
		return "filter: " + t.filter + "  / another, Esc none; Tab kind, s sort, r reverse, q quit"
	}
	return "Tab kind, s sort, r reverse, / filter, arrows scroll, q quit"
}

// lines are the table's, its head first.
func (t *top) lines(rows []figures.Row) []string {
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range figureRows(t.choice, rows) {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
	return strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
}

// cutTo is a line's first characters.
func cutTo(line string, width int) string {
	n := 0
	for i := range line {
		if n++; n > width {
			return line[:i]
		}
	}
	return line
}
