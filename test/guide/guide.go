// Package guide reads the guides of docs/guides as what one does who follows
// them: files to save, and commands with what they print.
//
// Input: a guide's text. Output: its blocks in their order, and how what a
// command printed differs from what the guide says. It imports the standard
// library alone: test/local and test/e2e/guides run the commands.
package guide

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Guide is one of docs/guides.
type Guide struct {
	// Path is where it was read; Put writes there.
	Path string
	// Blocks are never none.
	Blocks []Block

	text string
}

// Block is a part of a guide: a file to save, or commands and what they print.
type Block struct {
	// Heading that it stands under; "": none.
	Heading string
	// File to save Text to; "": Text is commands, one a line.
	File string
	Text string
	// Prints is what the commands print; "" where the guide does not say.
	Prints string

	from, to int // where Prints begins and ends in the guide
}

// part is a heading, a file, commands or an output. Commands for one machine
// (sh) have a counterpart for a cluster (sh cluster) beside them.
var part = regexp.MustCompile("(?m)^## (.*)$|(?s)(?:file `([^`\n]+)`[^`]*?:\n\n)?```(yaml|sh cluster|sh|text)\n(.*?)```")

// Read reads a guide; commands are the blocks that are run: sh, or sh cluster. A
// guide without any is an error.
func Read(path, commands string) (*Guide, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	g := &Guide{Path: path, text: string(raw)}
	heading, last, ours := "", 0, false
	for _, m := range part.FindAllStringSubmatchIndex(g.text, -1) {
		group := func(n int) string {
			if m[2*n] < 0 {
				return ""
			}
			return g.text[m[2*n]:m[2*n+1]]
		}
		switch kind := group(3); {
		case kind == "":
			heading = group(1)
		case kind == "yaml" && group(2) != "":
			g.Blocks = append(g.Blocks, Block{Heading: heading, File: group(2), Text: group(4)})
		case kind == commands:
			g.Blocks = append(g.Blocks, Block{Heading: heading, Text: group(4)})
			ours = true
		case kind == "text" && ours && strings.TrimSpace(g.text[last:m[0]]) == "" && len(g.Blocks) > 0:
			b := &g.Blocks[len(g.Blocks)-1]
			b.Prints, b.from, b.to = group(4), m[8], m[9]
		default: // another's commands, with what they print
			ours = false
		}
		last = m[1]
	}
	if len(g.Blocks) == 0 {
		return nil, fmt.Errorf("%s has no commands", path)
	}
	return g, nil
}

// Put writes what block n printed into the guide.
func (g *Guide) Put(n int, printed string) error {
	b := g.Blocks[n]
	longer := len(printed) - (b.to - b.from)
	g.text = g.text[:b.from] + printed + g.text[b.to:]
	for i := n + 1; i < len(g.Blocks); i++ {
		g.Blocks[i].from += longer
		g.Blocks[i].to += longer
	}
	return os.WriteFile(g.Path, []byte(g.text), 0o644)
}

// What differs from run to run: random ends of names, figures, gaps. A status
// is no such figure.
var (
	randomEnd = regexp.MustCompile(`-[0-9a-f]{5,10}-[0-9a-z]{5}\b`)
	figure    = regexp.MustCompile(`[0-9]+(\.[0-9]+)*`)
	status    = regexp.MustCompile(`^HTTP/[0-9.]+ [0-9]{3}\b`)
	gap       = regexp.MustCompile(`[ \t]+|-{3,}`)
)

// bare is a line without what differs from run to run.
func bare(line string) string {
	line = strings.TrimSpace(line)
	if !status.MatchString(line) {
		line = figure.ReplaceAllString(randomEnd.ReplaceAllString(line, "-X"), "N")
	}
	return strings.TrimSpace(gap.ReplaceAllString(line, " "))
}

// lines are those of an output that are not empty.
func lines(text string) (out []string) {
	for line := range strings.Lines(text) {
		if line = bare(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// Compare says how an output differs from what the guide says: but for figures,
// gaps and the order of lines, since things are listed by names that end at
// random. "..." in the guide stands for lines that it leaves out; what begins
// with an open brace after it is quoted without a gap.
func Compare(says, printed string) error {
	want, got := lines(says), lines(printed)
	short := slices.Contains(want, "...")
	var missing, surplus []string
	for _, line := range want {
		if line != "..." && !slices.Contains(got, line) {
			missing = append(missing, line)
		}
	}
	for _, line := range got {
		if !short && !slices.Contains(want, line) {
			surplus = append(surplus, line)
		}
	}
	for _, object := range objects(want) {
		if !contains(got, object) {
			missing = append(missing, strings.Join(object, " "))
		}
	}
	if len(missing)+len(surplus) == 0 {
		return nil
	}
	return fmt.Errorf("the guide says, and it does not print: %q\nit prints, and the guide does not say: %q\nwhole:\n%s", missing, surplus, printed)
}

// objects are the parts after "..." that begin with an open brace, up to the next.
func objects(want []string) (out [][]string) {
	for {
		n := slices.Index(want, "...")
		if n < 0 {
			return out
		}
		want = want[n+1:]
		end := slices.Index(want, "...")
		if end < 0 {
			end = len(want)
		}
		if end > 0 && strings.HasSuffix(want[0], "{") {
			out = append(out, want[:end])
		}
	}
}

// contains says whether all has the lines of a part beside one another.
func contains(all, part []string) bool {
	for i := range all {
		if len(all)-i >= len(part) && slices.Equal(all[i:i+len(part)], part) {
			return true
		}
	}
	return false
}
