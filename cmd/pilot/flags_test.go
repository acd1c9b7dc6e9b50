package main

import (
	"regexp"
	"testing"
)

// What git describe says, with a tag and without, is a version to Kiali: X.Y.Z and
// more.
func TestVersionIsANumber(t *testing.T) {
	number := regexp.MustCompile(`^(\d+\.\d+\.\d+)`)
	for described, want := range map[string]string{
		"v1.2.3": "1.2.3", "v1.2.3-4-gabcdef0-dirty": "1.2.3-4-gabcdef0-dirty", "1.2.3": "1.2.3",
		"42ee84b": "0.0.0-42ee84b", "42ee84b-dirty": "0.0.0-42ee84b-dirty", "unknown": "0.0.0-unknown",
	} {
		if got := numbered(described); got != want || !number.MatchString(got) {
			t.Errorf("%s is said as %s, want %s", described, got, want)
		}
	}
}
