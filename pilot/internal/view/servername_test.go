package view

import (
	"strings"
	"testing"
)

// TestServerNameFits: any host and subset that can be gives a server name that
// TLS takes, and different ones different names, as a proxy reads them.
func TestServerNameFits(t *testing.T) {
	long := strings.Repeat("abc.", 62) + "com"
	if got := serverName(80, "v1", "Reviews"); got != "outbound_.80_.v1_.Reviews" {
		t.Errorf("a short one is %q", got)
	}
	seen := map[string]bool{}
	for _, subset := range []string{"", "v1", strings.Repeat("s", 63)} {
		for _, host := range []string{long, "x" + long[1:], long[:len(long)-1] + "x"} {
			name := serverName(65535, subset, host)
			if len(name) > maxServerName || !strings.HasPrefix(name, "outbound_.65535_.") || seen[name] {
				t.Errorf("%s: %q", host, name)
			}
			if passed := passedName(65535, subset, strings.ToUpper(host)); passed != strings.ToLower(name) {
				t.Errorf("a gateway passes %q on, clients say %q", passed, name)
			}
			seen[name] = true
		}
	}
}
