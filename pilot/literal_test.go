package pilot_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/test/envoy"
)

// literalFields are the fields of a policy that name somebody or something,
// each with a rule's YAML for a pattern, and a caller for a value.
var literalFields = map[string]struct {
	rule   string
	call   func(value string) simulate.Call
	values []string
}{
	"principals": {
		`{from: [{source: {principals: [%q]}}], to: [{operation: {ports: ["%d"]}}]}`,
		func(v string) simulate.Call { return asCaller("spiffe://" + v) },
		[]string{"cluster.local/ns/default/sa/web", "cluster.local/ns/default/sa/xweb", "cluster.local/ns/default/sa/web.2", "cluster.local/ns/defaultdefault/sa/web", "cluster.local/ns/dxfault/sa/web"},
	},
	"namespaces": {
		`{from: [{source: {namespaces: [%q]}}], to: [{operation: {ports: ["%d"]}}]}`,
		func(v string) simulate.Call { return asCaller("spiffe://cluster.local/ns/" + v + "/sa/web") },
		[]string{"default", "dxfault", "default2", "my-default", "d"},
	},
	"hosts": {
		`{to: [{operation: {hosts: [%q], ports: ["%d"]}}]}`,
		func(v string) simulate.Call { return simulate.Call{Host: v} },
		[]string{"web.example.com", "webxexample.com", "WEB.Example.com", "a.web.example.com", "web.example.com.evil.org", "example.com"},
	},
	"headers": {
		`{when: [{key: "request.headers[x-who]", values: [%q]}, {key: destination.port, values: ["%d"]}]}`,
		func(v string) simulate.Call { return simulate.Call{Headers: simulate.Headers{"x-who": {v}}} },
		[]string{"web.example.com", "webxexample.com", "WEB.example.com", "[a-z]+", "web|other", "(web)", "^web$", `we\b`, "web?", "cluster.local/ns/default/sa/web", ""},
	},
}

// literalPatterns are texts that mean something to who takes them for regular
// expressions, globs or URLs.
var literalPatterns = []string{
	"cluster.local/ns/default/sa/web", "cluster.local/ns/default*", "*/sa/web", "cluster.local/ns/(default)+/sa/web", "cluster.local/ns/default/sa/we.",
	"default", "def*", "*fault", "d.fault", "d.*t", "[a-z]+", "default|other", "(default)", "^default$", `\w+`, "d?fault", "default2?",
	"web.example.com", "*.example.com", "web.*", "web*", ".*", ".+", "w?b.example.com", "web|other", "(web)", "^web$", `we\b`, "web?", "*",
}

func asCaller(identity string) simulate.Call {
	return simulate.Call{TLS: &simulate.TLS{SNI: "outbound_.9080_._.reviews.default.svc.cluster.local", ALPN: []string{"http/1.1"}, Identity: identity}}
}

// literally is how Istio reads a pattern: exact, or with one * at an end, and
// nothing else in it means anything. Source: Istio, AuthorizationPolicy.
func literally(pattern, value string) bool {
	switch {
	case pattern == "*":
		return value != ""
	case strings.HasSuffix(pattern, "*"):
		return strings.HasPrefix(value, pattern[:len(pattern)-1])
	case strings.HasPrefix(pattern, "*"):
		return strings.HasSuffix(value, pattern[1:])
	}
	return pattern == value
}

// literalWant is literally, as it is for a field.
func literalWant(field, pattern, value string) bool {
	switch field {
	case "hosts": // in any case of letters
		return literally(strings.ToLower(pattern), strings.ToLower(value))
	case "headers": // one that is there, though it is empty
		return pattern == "*" || literally(pattern, value)
	}
	return literally(pattern, value)
}

// literalPort is the port of the first pattern's rule.
const literalPort = 7001

// TestPatternsAreLiteral: on a real Envoy a text of a policy matches what a
// literal reading of it matches, whatever metacharacters it has. A pattern that
// Weft refuses lets nobody in.
func TestPatternsAreLiteral(t *testing.T) {
	t.Parallel()
	for field, f := range literalFields {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			var rules strings.Builder
			for i, pattern := range literalPatterns {
				fmt.Fprintf(&rules, "\n  - "+f.rule, pattern, literalPort+i)
			}
			p := sidecarOf(t, fmt.Sprintf(literalConfig, rules.String()))
			taken := 0
			for i, pattern := range literalPatterns {
				for _, value := range f.values {
					want := literalWant(field, pattern, value)
					call := f.call(value)
					call.Destination = netip.AddrPortFrom(netip.MustParseAddr("10.1.0.1"), uint16(literalPort+i))
					if got := literalStatus(t, p, call); want != (got == 200) || !want && got != 403 {
						t.Errorf("%s %q and %q: status %d, literally they match: %v", field, pattern, value, got, want)
					}
					if want {
						taken++
					}
				}
			}
			if taken == 0 {
				t.Error("nothing matched: the test tells nothing")
			}
		})
	}
}

func literalStatus(t *testing.T, p *envoy.Proxy, call simulate.Call) int {
	t.Helper()
	call.Listener, call.Method, call.Path, call.Host = "virtualInbound", "GET", "/", cmp.Or(call.Host, "reviews")
	got, err := p.Do(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	return got.Status
}

const literalConfig = onePod + `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: literal, namespace: default}
spec:
  action: ALLOW
  rules:%s
`
