package pilot_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// pick is one of the alternatives.
func pick(r *rand.Rand, all ...string) string { return all[r.IntN(len(all))] }

// some are those of all parts that chance keeps, for a YAML flow mapping.
func some(r *rand.Rand, parts ...string) string {
	var kept []string
	for _, p := range parts {
		if r.IntN(2) == 0 {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, ", ")
}

func randomMatch(r *rand.Rand) string {
	text := func() string {
		return "{" + pick(r, "exact", "prefix", "regex") + ": " + pick(r, "a", `"/weft.*"`, `"[a-z]+"`, "/x") + "}"
	}
	return "{" + some(r, "uri: "+text(), "headers: {user: "+text()+", other: {}}", "withoutHeaders: {none: "+text()+"}",
		"method: {exact: POST}", "authority: {prefix: ratings}", "ignoreUriCase: true", "queryParams: {q: {exact: a}}") + "}"
}

func randomRoute(r *rand.Rand) string {
	action := pick(r, "redirect: {uri: /a}", "directResponse: {status: 200}",
		"route: [{destination: {host: ratings}}]", "route: [{destination: {host: nowhere}}]",
		fmt.Sprintf("route: [{destination: {host: ratings, subset: v1}, weight: %d}, {destination: {host: ratings, subset: %s}, weight: %d}]", r.IntN(3), pick(r, "v2", "none"), r.IntN(100)))
	out := "{match: [" + randomMatch(r) + ", " + randomMatch(r) + "], " + action
	if strings.HasPrefix(action, "route") {
		out += ", " + some(r, "timeout: "+pick(r, "1ms", "2s", "1000h"), "retries: {attempts: "+pick(r, "0", "1", "9")+", retryOn: "+pick(r, `"5xx"`, `"unavailable,internal"`, `""`)+", backoff: 25ms}",
			"fault: {abort: {"+pick(r, "httpStatus: 503", "grpcStatus: UNAVAILABLE")+", percentage: {value: 0.5}}, delay: {fixedDelay: 1ms, percentage: {value: 100}}}",
			"rewrite: {uri: /b}", "mirror: {host: ratings}", "headers: {request: {set: {a: b}}}", "corsPolicy: {allowOrigins: [{exact: a}]}")
	}
	return strings.TrimSuffix(out, ", ") + "}"
}

func randomPolicy(r *rand.Rand) string {
	lb := pick(r, "simple: RANDOM", "simple: ROUND_ROBIN", "simple: PASSTHROUGH", "consistentHash: {httpHeaderName: user, ringHash: {minimumRingSize: 9000000}}",
		"consistentHash: {useSourceIp: true, maglev: {tableSize: 101}}", "consistentHash: {httpCookie: {name: a, ttl: 0s}}", "localityLbSetting: {failoverPriority: [version]}", "warmup: {duration: 1s}")
	return "{" + some(r, "loadBalancer: {"+lb+"}", "connectionPool: {http: {http2MaxRequests: 4, maxRetries: 1}, tcp: {maxConnections: 1}}",
		"outlierDetection: {"+pick(r, "consecutive5xxErrors: 1", "consecutiveGatewayErrors: 0", "minHealthPercent: 90")+", interval: 1s, maxEjectionPercent: 100}",
		"tls: {mode: "+pick(r, "DISABLE", "SIMPLE")+"}") + "}"
}

// TestGRPCTakesWhatRandomObjectsMake: an unmodified grpc-go client, whose own
// validation is stricter than Envoy's, refuses nothing that is made for it. Each
// round ends in a route that answers, so that the client has seen it all.
func TestGRPCTakesWhatRandomObjectsMake(t *testing.T) {
	r := startRing(t)
	r.serve("v1")
	r.serve("v2")
	c := r.client(ratingsTarget)
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 10 {
		routes := []string{fmt.Sprintf("{match: [{headers: {round: {exact: \"%d\"}}}], fault: {abort: {grpcStatus: DATA_LOSS, percentage: {value: 100}}}, route: [{destination: {host: ratings}}]}", round)}
		for range 1 + random.IntN(4) {
			routes = append(routes, randomRoute(random))
		}
		policy := randomPolicy(random)
		// Objects that are refused as a whole are for the compiler's tests.
		r.src.ApplyYAML("rule.yaml", "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: ratings, namespace: shop}\nspec: {host: ratings, trafficPolicy: "+policy+
			", subsets: [{name: v1, labels: {version: v1}, trafficPolicy: "+randomPolicy(random)+"}, {name: v2, labels: {version: v2}}]}\n")
		r.route("[" + strings.Join(routes, ", ") + "]")
		eventually(t, fmt.Sprintf("round %d: %s", round, routes), func() bool {
			get(c, "user", "abc")
			return get(c, "round", fmt.Sprint(round)) == "DataLoss"
		})
		var state struct{ Nacks []json.RawMessage }
		if err := json.Unmarshal([]byte(page(t, "http://"+r.addr.Monitoring+"/debug/sync")), &state); err != nil {
			t.Fatal(err)
		}
		if len(state.Nacks) > 0 {
			t.Fatalf("round %d: %s with %s: %s", round, routes, policy, state.Nacks)
		}
	}
}
