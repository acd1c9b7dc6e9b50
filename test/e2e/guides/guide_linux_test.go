package guides

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// folder of the guides.
const folder = "../../../docs/guides/"

// guide is one of docs/guides.
type guide struct {
	path   string
	text   string
	blocks []block
}

// block is a part of a guide, in its order: a file to save, or commands and what
// they print.
type block struct {
	heading string // that it stands under
	file    string // to save the text to; "": the text is commands
	text    string
	prints  string // what the commands print; "" where the guide does not say
	from    int    // where prints begins and ends in the guide
	to      int
}

// part is a heading, a file, commands or an output. Commands for one machine
// (sh) have a counterpart for a cluster (sh cluster) beside them.
var part = regexp.MustCompile("(?m)^## (.*)$|(?s)(?:file `([^`\n]+)`[^`]*?:\n\n)?```(yaml|sh cluster|sh|text)\n(.*?)```")

// readGuide reads a guide; commands are the blocks that are run: sh, or sh
// cluster.
func readGuide(t *testing.T, name, commands string) *guide {
	t.Helper()
	raw, err := os.ReadFile(folder + name)
	if err != nil {
		t.Fatal(err)
	}
	g := &guide{path: folder + name, text: string(raw)}
	heading, last := "", 0
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
			g.blocks = append(g.blocks, block{heading: heading, file: group(2), text: group(4)})
		case kind == commands:
			g.blocks = append(g.blocks, block{heading: heading, text: group(4)})
		case kind == "text" && strings.TrimSpace(g.text[last:m[0]]) == "" && len(g.blocks) > 0:
			b := &g.blocks[len(g.blocks)-1]
			b.prints, b.from, b.to = group(4), m[8], m[9]
		}
		last = m[1]
	}
	if len(g.blocks) == 0 {
		t.Fatalf("%s has no commands", name)
	}
	return g
}

// put writes what block n printed into the guide.
func (g *guide) put(n int, printed string) error {
	b := g.blocks[n]
	longer := len(printed) - (b.to - b.from)
	g.text = g.text[:b.from] + printed + g.text[b.to:]
	for i := n + 1; i < len(g.blocks); i++ {
		g.blocks[i].from += longer
		g.blocks[i].to += longer
	}
	return os.WriteFile(g.path, []byte(g.text), 0o644)
}

// What differs from run to run: random ends of names, figures, gaps.
var (
	randomEnd = regexp.MustCompile(`-[0-9a-f]{5,10}-[0-9a-z]{5}\b`)
	figure    = regexp.MustCompile(`[0-9]+(\.[0-9]+)*`)
	gap       = regexp.MustCompile(`[ \t]+|-{3,}`)
)

// plain are the lines of an output without what differs from run to run,
// sorted: things are listed by names that end at random.
func plain(text string) (out []string) {
	for line := range strings.Lines(text) {
		line = gap.ReplaceAllString(figure.ReplaceAllString(randomEnd.ReplaceAllString(line, "-X"), "N"), " ")
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// compare says how an output differs from what the guide says; "..." in the
// guide stands for lines that it leaves out.
func compare(says, printed string) error {
	want, got := plain(says), plain(printed)
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
	if len(missing)+len(surplus) == 0 {
		return nil
	}
	return fmt.Errorf("the guide says, and it does not print: %q\nit prints, and the guide does not say: %q\nwhole:\n%s", missing, surplus, printed)
}

func TestCompare(t *testing.T) {
	const says = "pod/web-7d9f8c5b6-x2x4z   10.244.1.3  ready 2/2\nok  weft-pilot\n"
	for printed, same := range map[string]bool{
		"ok    weft-pilot\npod/web-5c9f8c5b6-zz9zz 10.244.2.77 ready 2/2\n": true,
		"ok weft-pilot\n": false,
		says + "more\n":   false,
		strings.Replace(says, "ready", "waiting", 1): false,
	} {
		if err := compare(says, printed); (err == nil) != same {
			t.Errorf("%q: %v", printed, err)
		}
	}
	if err := compare("...\nok weft-pilot\n", says); err != nil {
		t.Error(err)
	}
}
