package pilot_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/simulate"
)

// sessionConfig is a Service with persistent sessions by a label, and its
// endpoints from what is said of each: "ready", "draining" or "gone".
func sessionConfig(label string, endpoints ...string) string {
	var out strings.Builder
	fmt.Fprintf(&out, `
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default, labels: {%s}}
spec: {clusterIP: 10.96.0.10, selector: {app: reviews}, ports: [{name: http, port: 9080, targetPort: 9080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, namespace: default, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 9080}]
endpoints:
`, label)
	for i, is := range endpoints {
		if is != "gone" {
			fmt.Fprintf(&out, "- {addresses: [10.1.0.%d], conditions: {ready: %v, serving: true, terminating: %v}}\n", i+1, is == "ready", is == "draining")
		}
	}
	return out.String()
}

// sticky is a client of a service with sessions: it sends back what it was given.
type sticky struct {
	world
	by, value string // the header that is sent, and what it holds
	given     string // the header of answers
}

// call returns the endpoint that answered.
func (c *sticky) call(t *testing.T) string {
	t.Helper()
	call := simulate.Call{Path: "/cart"}
	if c.value != "" {
		call.Headers = simulate.Headers{c.by: {c.value}}
	}
	found := c.do(t, call)
	if given := found.Headers[c.given]; len(given) > 0 {
		c.value, _, _ = strings.Cut(given[0], ";")
	}
	return found.Seen[0].Endpoint
}

// at counts the endpoints of n calls of new clients.
func (c sticky) at(t *testing.T, n int) map[string]int {
	out := map[string]int{}
	for range n {
		c.value = ""
		out[c.call(t)]++
	}
	return out
}

// TestSessionsPersist: a client stays at the endpoint that answered it first,
// while others come, and while it drains and takes no new clients; when it is
// gone the client gets another, and stays there.
// Source: Istio, PILOT_PERSISTENT_SESSION_LABEL, PILOT_PERSISTENT_SESSION_HEADER_LABEL.
func TestSessionsPersist(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, label, by, given string }{
		{"cookie", `istio.io/persistent-session: session`, "cookie", "set-cookie"},
		{"cookie and path", `istio.io/persistent-session: "session:/cart"`, "cookie", "set-cookie"},
		{"header", `istio.io/persistent-session-header: X-Session`, "x-session", "x-session"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			one := sticky{world: startWorld(t, sessionConfig(c.label, "ready", "ready", "ready")), by: c.by, given: c.given}
			home := one.call(t)
			one.stays(t, "nothing changed", home)
			states := []string{"ready", "ready", "ready"}
			at := int(home[len("10.1.0.")] - '1')
			states[at] = "draining"
			one.endpoints(t, sessionConfig(c.label, states...))
			eventually(t, "new clients go elsewhere", func() bool { return one.at(t, 12)[home] == 0 })
			one.stays(t, "it drains", home)
			states[at] = "gone"
			one.endpoints(t, sessionConfig(c.label, states...))
			next := ""
			eventually(t, "it is gone", func() bool { next = one.call(t); return next != home })
			one.stays(t, "at the next", next)
		})
	}
}

// stays wants twelve calls at one endpoint, where new clients are at several.
func (c *sticky) stays(t *testing.T, when, want string) {
	t.Helper()
	for range 12 {
		if got := c.call(t); got != want {
			t.Fatalf("%s: the client of %s is at %s", when, want, got)
		}
	}
	if n := len(c.at(t, 24)); n < 2 {
		t.Errorf("%s: 24 new clients are at %d endpoints", when, n)
	}
}

func (c *sticky) endpoints(t *testing.T, text string) {
	t.Helper()
	if err := c.Endpoints(t.Context(), worldResources(t, text)); err != nil {
		t.Fatal(err)
	}
}
