package spiffe

import (
	"strings"
	"testing"
)

// A value is whole as long as its unit has room; beyond, it differs from others.
func TestLabelsThatAreLong(t *testing.T) {
	for _, l := range []Label{WorkloadLabel, NamespaceLabel, AppLabel, VersionLabel} {
		whole := strings.Repeat("a", MaxUnit-len(l)-1)
		if got := l.Unit(whole); got != string(l)+":"+whole {
			t.Errorf("%q", got)
		}
		one, two := l.Unit(whole+"1"), l.Unit(whole+"2")
		if len(one) != MaxUnit || len(two) != MaxUnit || one == two {
			t.Errorf("%q and %q", one, two)
		}
	}
	if got := WorkloadLabel.Short("reviews-v1"); got != "reviews-v1" {
		t.Error(got)
	}
}
