package apis

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestEachKindHasASection: docs/api-support.md lists the fields of every kind that
// we have a definition and rows of, for it says that what is not there is none of
// Istio's.
func TestEachKindHasASection(t *testing.T) {
	page, err := os.ReadFile("../docs/api-support.md")
	if err != nil {
		t.Fatal(err)
	}
	ledger, err := Support()
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{"MeshConfig": true} // and the kinds that have rows
	definitions, err := CRDs()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range definitions {
		kind := regexp.MustCompile(`(?m)^    kind: (\w+)$`).FindSubmatch(text)
		if kind == nil {
			t.Fatalf("%s names no kind", name)
		}
		for _, message := range ledger.Messages() {
			if strings.HasSuffix(message, "1."+string(kind[1])) || strings.HasSuffix(message, "3."+string(kind[1])) {
				listed[string(kind[1])] = true
			}
		}
	}
	if len(listed) < 14 {
		t.Errorf("only %d kinds have rows: %v", len(listed), listed)
	}
	for kind := range listed {
		if !strings.Contains(string(page), "\n## "+kind+"\n\n| field |") {
			t.Errorf("docs/api-support.md has no section of %s, which has rows in apis/support.yaml: add it to kinds of apis/internal/supportgen", kind)
		}
	}
}
