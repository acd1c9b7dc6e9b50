package compile

import (
	"strings"
	"testing"
)

// The verdicts of this table are Envoy 1.40's, as envoy --mode validate gave
// them with a limit of 32768 steps.
func TestRegex(t *testing.T) {
	good := []string{
		"a", ".*", "(?i)a", `\d{3}`, "[[:alpha:]]+", `\pL`, `\p{Lu}`, `\p{^Greek}`, `\P{Any}`, `a\z`, "(?P<n>a)", "(?<n>a)", `\x{FF}`, `\Q\p{no}\E`, "é+",
		"(a{1,100}){1,9}", strings.Repeat("a", 4096), `\\p{no}`, "(?U)a+",
	}
	bad := []string{
		"", "(", "[", "a**", `\C`, "(?=a)", `\1`, `\p{Letter}`, `\p{ASCII}`, `\p{Cn}`, `\p{LC}`, `\p{greek}`, `\x{100}`, `\p{`, "a{1001}", "(?z)",
		strings.Repeat("a", 4097), strings.Repeat("(a{1000})", 40), strings.Repeat("(", 2000), strings.Repeat(`\pL{1,900}`, 5),
	}
	for _, s := range good {
		if d := newList(); !checkRegex(s, "at", d) {
			t.Errorf("%.40q: %v", s, d.All())
		}
	}
	for _, s := range bad {
		if d := newList(); checkRegex(s, "at", d) || len(d.All()) != 1 {
			t.Errorf("%.40q was accepted: %v", s, d.All())
		}
	}
}
