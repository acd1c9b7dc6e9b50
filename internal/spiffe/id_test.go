package spiffe

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const good = "spiffe://cluster.local/ns/shop/sa/reviews.v1"
	id, err := Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	if want := (ID{"cluster.local", "shop", "reviews.v1"}); id != want {
		t.Errorf("Parse(%q) = %+v, want %+v", good, id, want)
	}
	if id.String() != good || id.URL().String() != good || id.Account() != "shop/reviews.v1" {
		t.Errorf("String %q, URL %q, Account %q", id, id.URL(), id.Account())
	}
}

func TestParseRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":               "",
		"other scheme":        "https://cluster.local/ns/a/sa/b",
		"upper-case scheme":   "SPIFFE://cluster.local/ns/a/sa/b",
		"no trust domain":     "spiffe:///ns/a/sa/b",
		"upper-case domain":   "spiffe://Cluster.local/ns/a/sa/b",
		"port":                "spiffe://cluster.local:80/ns/a/sa/b",
		"user":                "spiffe://u@cluster.local/ns/a/sa/b",
		"long domain":         "spiffe://" + strings.Repeat("a", 256) + "/ns/a/sa/b",
		"long URI":            "spiffe://cluster.local/ns/a/sa/" + strings.Repeat("b", 3000),
		"missing segment":     "spiffe://cluster.local/ns/a/sa",
		"further segment":     "spiffe://cluster.local/ns/a/sa/b/c",
		"trailing slash":      "spiffe://cluster.local/ns/a/sa/b/",
		"empty account":       "spiffe://cluster.local/ns/a/sa/",
		"wrong keys":          "spiffe://cluster.local/sa/a/ns/b",
		"dotted namespace":    "spiffe://cluster.local/ns/a.b/sa/b",
		"long namespace":      "spiffe://cluster.local/ns/" + strings.Repeat("a", 64) + "/sa/b",
		"dash at the end":     "spiffe://cluster.local/ns/a-/sa/b",
		"empty account label": "spiffe://cluster.local/ns/a/sa/b..c",
		"dot segments":        "spiffe://cluster.local/ns/../sa/b",
		"percent-encoding":    "spiffe://cluster.local/ns/%61/sa/b",
		"query":               "spiffe://cluster.local/ns/a/sa/b?c",
		"empty fragment":      "spiffe://cluster.local/ns/a/sa/b#",
		"NUL":                 "spiffe://cluster.local/ns/a/sa/b\x00",
		"newline":             "spiffe://cluster.local/ns/a/sa/b\n",
		"not ASCII":           "spiffe://cluster.local/ns/ä/sa/b",
	} {
		if id, err := Parse(in); err == nil {
			t.Errorf("%s: Parse(%q) = %+v, want an error", name, in, id)
		} else if !id.IsZero() {
			t.Errorf("%s: an identity came with the error: %+v", name, id)
		}
	}
}

func TestZeroID(t *testing.T) {
	var id ID
	if !id.IsZero() || id.String() != "" || id.Validate() == nil {
		t.Errorf("zero ID: IsZero %v, String %q, Validate %v", id.IsZero(), id, id.Validate())
	}
}

func FuzzParse(f *testing.F) {
	f.Add("spiffe://cluster.local/ns/shop/sa/reviews")
	f.Add("spiffe://cluster.local/ns/../sa/%00")
	f.Fuzz(func(t *testing.T, in string) {
		id, err := Parse(in)
		if err != nil {
			return
		}
		if id.String() != in || id.URL().String() != in {
			t.Errorf("Parse(%q) writes back %q and %q", in, id, id.URL())
		}
	})
}
