package hostname

import (
	"strings"
	"testing"
)

func TestQualify(t *testing.T) {
	for in, want := range map[string]string{
		"reviews":      "reviews.shop.svc.cluster.local",
		"Reviews":      "reviews.shop.svc.cluster.local",
		"reviews.shop": "reviews.shop",
		"*":            "*",
		"*.Example.":   "*.example",
		"":             "",
	} {
		if got := Qualify(in, "shop", "cluster.local"); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	good := []string{"a", "a.b", "*", "*.a", "*-a.b", "A_b.c", "10.0.0.1", "a-b.c.", strings.Repeat("a", 63) + ".b"}
	bad := []string{"", ".", "a..b", ".a", "a b", "a*", "*.*.a", "a-.b", "a|b", "a/b", "a\r\nb", "ü", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a"}
	for _, s := range good {
		if err := Check(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range bad {
		if Check(s) == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestIsLabel(t *testing.T) {
	for s, want := range map[string]bool{"a": true, "a-1": true, "": false, "A": false, "-a": false, "a-": false, "a.b": false, strings.Repeat("a", 64): false} {
		if IsLabel(s) != want {
			t.Errorf("%q: want %v", s, want)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"a.b", "a.b", true}, {"a.b", "c.b", false}, {"*", "a.b", true}, {"*", "*.b", true}, {"*.b", "a.b", true}, {"*.b", "b", false},
		{"*.b", ".b", false}, {"*.b", "*.a.b", true}, {"*.a.b", "*.b", false}, {"a.b", "*.b", false}, {"*-a.b", "x-a.b", true},
	} {
		if got := Covers(tc.pattern, tc.name); got != tc.want {
			t.Errorf("Covers(%q, %q) = %v", tc.pattern, tc.name, got)
		}
	}
}

func TestWider(t *testing.T) {
	for in, want := range map[string]string{
		"a.b.c": "a.b.c *.b.c *.c *", "*.b.c": "*.b.c *.c *", "*.c": "*.c *", "*": "*", "db": "db *",
	} {
		if got := strings.Join(Wider(in), " "); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
		for _, w := range Wider(in) {
			if !Covers(w, in) {
				t.Errorf("%q does not cover %q", w, in)
			}
		}
	}
}
