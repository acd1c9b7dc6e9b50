package pilot_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/simulate"
)

// hashConfig has a subset, at the path of its name, for each way to hash.
const hashConfig = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: header, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}
  - {name: maglev, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user, maglev: {tableSize: 1009}}}}}
  - {name: query, trafficPolicy: {loadBalancer: {consistentHash: {httpQueryParameterName: user}}}}
  - {name: source, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}}
  - {name: cookie, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: session, path: /, ttl: 60s}}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - {match: [{uri: {prefix: /header}}], route: [{destination: {host: reviews, subset: header}}]}
  - {match: [{uri: {prefix: /maglev}}], route: [{destination: {host: reviews, subset: maglev}}]}
  - {match: [{uri: {prefix: /query}}], route: [{destination: {host: reviews, subset: query}}]}
  - {match: [{uri: {prefix: /source}}], route: [{destination: {host: reviews, subset: source}}]}
  - {match: [{uri: {prefix: /cookie}}], route: [{destination: {host: reviews, subset: cookie}}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, namespace: default, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 9080}]
endpoints:
`

// hashUsers is how many clients there are.
const hashUsers = 90

// hashCalls are the ways in which a client, by its number, can be told.
var hashCalls = map[string]func(user int, cookie string) simulate.Call{
	"header": func(user int, _ string) simulate.Call {
		return simulate.Call{Path: "/header", Headers: simulate.Headers{"x-user": {fmt.Sprint("user-", user)}}}
	},
	"maglev": func(user int, _ string) simulate.Call {
		return simulate.Call{Path: "/maglev", Headers: simulate.Headers{"x-user": {fmt.Sprint("user-", user)}}}
	},
	"query": func(user int, _ string) simulate.Call {
		return simulate.Call{Path: fmt.Sprint("/query?user=user-", user)}
	},
	"source": func(user int, _ string) simulate.Call {
		return simulate.Call{Path: "/source", Source: hashSource(user)}
	},
	"cookie": func(user int, cookie string) simulate.Call {
		call := simulate.Call{Path: "/cookie", Source: hashSource(user)}
		if cookie != "" {
			call.Headers = simulate.Headers{"cookie": {"theme=dark; " + cookie}}
		}
		return call
	},
}

func hashSource(user int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, 0, byte(user + 1)}), uint16(30000+user))
}

// TestHashKeepsClientsWhereTheyAre: a client is told by a header, a query
// parameter, its address or a cookie, which the first answer sets, and stays at
// its endpoint. When one is added to five, most stay: with rings and maglev
// tables a sixth goes to it and less than that elsewhere;
// a hash modulo the number of endpoints moves five sixths.
// Source: Istio, LoadBalancerSettings.ConsistentHashLB.
func TestHashKeepsClientsWhereTheyAre(t *testing.T) {
	t.Parallel()
	p := startWorld(t, hashConfig+hashEndpoints(5))
	cookies := make([]string, hashUsers)
	before := map[string][]string{}
	for by := range hashCalls {
		before[by] = hashRound(t, p, by, cookies)
		if n := len(hashCount(before[by])); n != 5 {
			t.Errorf("%s: %d clients are at %d endpoints, want 5", by, hashUsers, n)
		}
		if moved := hashMoved(before[by], hashRound(t, p, by, cookies)); moved != 0 {
			t.Errorf("%s: %d of %d clients were somewhere else at their second call", by, moved, hashUsers)
		}
	}
	if err := p.Endpoints(t.Context(), worldResources(t, hashConfig+hashEndpoints(6))); err != nil {
		t.Fatal(err)
	}
	for by := range hashCalls {
		after := hashRound(t, p, by, cookies)
		moved, there := hashMoved(before[by], after), hashCount(after)["10.1.0.6:9080"]
		if moved > hashUsers*6/10 || there == 0 {
			t.Errorf("%s: a new endpoint moved %d of %d clients, %d of them to itself", by, moved, hashUsers, there)
		} else {
			t.Logf("%s: a new endpoint moved %d of %d clients, %d of them to itself", by, moved, hashUsers, there)
		}
	}
}

// hashEndpoints are n endpoints of reviews, to be put behind hashConfig.
func hashEndpoints(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, "- {addresses: [10.1.0.%d], conditions: {ready: true}}\n", i+1)
	}
	return out.String()
}

// hashRound has each client call once; cookies are those that clients hold,
// and take what answers set. It returns the clients' endpoints.
func hashRound(t *testing.T, p world, by string, cookies []string) (endpoints []string) {
	t.Helper()
	for user := range hashUsers {
		call := hashCalls[by](user, cookies[user])
		found := p.do(t, call)
		switch set := found.Headers["set-cookie"]; {
		case by != "cookie" || cookies[user] != "":
			if len(set) > 0 {
				t.Fatalf("%s: client %d, who has %q, is given a cookie: %q", by, user, cookies[user], set)
			}
		case len(set) != 1 || !strings.Contains(set[0], "Max-Age=60; Path=/"):
			t.Fatalf("%s: client %d, who has none, is given no cookie of 60 s: %q", by, user, set)
		default:
			cookies[user], _, _ = strings.Cut(set[0], ";")
		}
		endpoints = append(endpoints, found.Seen[0].Endpoint)
	}
	return endpoints
}

func hashMoved(before, after []string) (n int) {
	for user := range before {
		if before[user] != after[user] {
			n++
		}
	}
	return n
}

func hashCount(endpoints []string) map[string]int {
	out := map[string]int{}
	for _, e := range endpoints {
		out[e]++
	}
	return out
}
