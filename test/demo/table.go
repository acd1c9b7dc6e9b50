package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// row is one line of the table.
type row struct {
	what, expected, seen string
	ok                   bool
}

// row adds a line to the table and prints it as progress.
func (d *demo) row(r row) {
	d.rows = append(d.rows, r)
	d.say("  %s: %s (expected: %s) %s", r.what, r.seen, r.expected, mark(r.ok))
}

func (d *demo) allHeld() bool {
	for _, r := range d.rows {
		if !r.ok {
			return false
		}
	}
	return len(d.rows) > 0
}

func mark(ok bool) string {
	if ok {
		return "ok"
	}
	return "NO"
}

// print writes the table and the verdict.
func (d *demo) print(w io.Writer) {
	header := row{what: "what", expected: "expected", seen: "seen"}
	width := [3]int{}
	for _, r := range append([]row{header}, d.rows...) {
		for i, cell := range []string{r.what, r.expected, r.seen} {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	width[2] = min(width[2], max(columns-width[0]-width[1]-gaps, len("seen")))
	line := func(r row, last string) {
		fmt.Fprintf(w, "%-*s  %-*s  %-*s  %s\n",
			width[0], r.what, width[1], r.expected, width[2], firstLine(r.seen, width[2]), last)
	}
	fmt.Fprintln(w)
	line(header, "ok")
	fmt.Fprintln(w, strings.Repeat("-", width[0]+width[1]+width[2]+gaps))
	held := 0
	for _, r := range d.rows {
		line(r, mark(r.ok))
		if r.ok {
			held++
		}
	}
	fmt.Fprintf(w, "\n%d of %d held, in %.0f s.\n", held, len(d.rows), time.Since(d.began).Seconds())
}

// The table's width, and what of it lies between and after the three columns.
const columns, gaps = 100, 8

// firstLine keeps the table on one screen: the progress line has the rest.
func firstLine(text string, most int) string {
	line, _, more := strings.Cut(text, "\n")
	if runes := []rune(line); len(runes) > most || more {
		return string(runes[:min(len(runes), most-1)]) + "…"
	}
	return line
}
