//go:build peers

package local

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
)

// TestTraceGuide follows the guide with a real Jaeger, which is on the PATH.
func TestTraceGuide(t *testing.T) {
	newSite(t).follow(seen{"%{http_code}": prints("200"), "trace=[": prints("GET / 200"), "api/traces": slow}, "trace-a-request")
}

var duration = regexp.MustCompile(`"duration":(\d+)`)

// slow: a span of the app that waits 200 ms.
func slow(out string) error {
	found := duration.FindStringSubmatch(out)
	if found == nil {
		return fmt.Errorf("no span of details in %s", out)
	}
	if us, err := strconv.Atoi(found[1]); err != nil || us < 200_000 {
		return fmt.Errorf("a span of details took %d us", us)
	}
	return nil
}
