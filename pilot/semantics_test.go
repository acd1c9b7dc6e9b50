package pilot_test

import (
	"os"
	"strings"
	"testing"

	"github.com/weftmesh/weft/test/golden"
)

// TestEveryRuleHasACase holds docs/semantics.md to its word: each rule names
// its source, and cases with calls.
func TestEveryRuleHasACase(t *testing.T) {
	content, err := os.ReadFile("../docs/semantics.md")
	if err != nil {
		t.Fatal(err)
	}
	rules := 0
	for line := range strings.Lines(string(content)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) < 3 || strings.HasPrefix(line, "| rule |") {
			continue
		}
		rules++
		cases := strings.Fields(cells[2])
		if strings.TrimSpace(cells[1]) == "" || len(cases) == 0 {
			t.Errorf("docs/semantics.md: %q has no source or no case", cells[0])
		}
		for _, name := range cases {
			f, err := golden.Load("testdata/" + name + ".txtar")
			if err != nil {
				t.Errorf("docs/semantics.md: %q: %v", cells[0], err)
			} else if calls, _ := f.Get("calls.yaml"); strings.TrimSpace(calls) == "" {
				t.Errorf("docs/semantics.md: %q: case %s makes no call", cells[0], name)
			}
		}
	}
	if rules < 30 {
		t.Errorf("found %d rules: the table is not read", rules)
	}
}
