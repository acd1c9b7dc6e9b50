package golden

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/test/envoy"
)

// Check makes every call of calls.yaml in the simulator and, unless proxy is
// nil, in a real Envoy. It returns what does not hold: a want that one of them
// does not meet, or a point on which they disagree.
func Check(ctx context.Context, calls []Call, r Resolver, config *simulate.Config, proxy *envoy.Proxy) (problems []string) {
	run := &run{ctx: ctx, resolver: r, config: config, proxy: proxy}
	for i, c := range calls {
		for _, p := range run.check(c) {
			problems = append(problems, c.label(i)+": "+p)
		}
	}
	return problems
}

// run is what the calls of one file share.
type run struct {
	ctx      context.Context
	resolver Resolver // with the endpoints that are ejected by now
	config   *simulate.Config
	out      time.Duration // for so long is the endpoint out that was ejected last
	proxy    *envoy.Proxy  // nil: the simulator alone is asked
}

func (r *run) check(c Call) []string {
	call, err := c.resolve(r.resolver, 0)
	switch {
	case err != nil:
		return []string{err.Error()}
	case c.Want.Ejected != nil:
		return r.eject(c, call)
	case c.AtOnce > 0:
		return r.atOnce(c, call)
	case c.Times > 0:
		return r.times(c)
	}
	return r.once(c, call)
}

// once makes a call, as often as its chances need it.
func (r *run) once(c Call, call simulate.Call) []string {
	ctx, config, proxy := r.ctx, r.config, r.proxy
	outcomes, err := config.Run(call)
	if err != nil {
		return []string{"simulator: " + err.Error()}
	}
	outcomes = merge(outcomes)
	problems := c.Want.simulated(outcomes)
	if proxy == nil {
		return problems
	}
	var before envoy.Requests
	if len(c.Want.Labels) > 0 {
		if before, err = proxy.Requests(ctx); err != nil {
			return append(problems, "Envoy: "+err.Error())
		}
	}
	counted, err := r.counted(c.Want)
	if err != nil {
		return append(problems, "Envoy: "+err.Error())
	}
	found, err := observe(ctx, c, call, outcomes, proxy)
	if err != nil {
		return append(problems, "Envoy: "+err.Error())
	}
	problems = append(problems, r.labels(c.Want, before)...)
	problems = append(problems, r.counts(c.Want, counted)...)
	problems = append(problems, c.Want.compare(outcomes, found)...)
	if len(found[0].Seen) > 0 {
		problems = append(problems, r.connection(c.Want, outcomes[0], found[0])...)
	}
	return problems
}

// merge adds up outcomes that no client or endpoint could tell apart.
func merge(outcomes []simulate.Outcome) []simulate.Outcome {
	var out []simulate.Outcome
	index := map[string]int{}
	for _, o := range outcomes {
		p := o.Probability
		o.Probability = 0
		key := fmt.Sprintf("%+v", o)
		i, seen := index[key]
		if !seen {
			i = len(out)
			index[key] = i
			out = append(out, o)
		}
		out[i].Probability += p
	}
	return out
}

// observe makes the call as often as it takes: once, or Samples times where
// chance decides. Mirrored requests are waited for.
func observe(ctx context.Context, c Call, call simulate.Call, outcomes []simulate.Outcome, proxy *envoy.Proxy) ([]envoy.Observed, error) {
	n := 1
	if len(outcomes) > 1 {
		if n = c.Samples; n == 0 {
			n = 300
		}
	}
	found, errs := make([]envoy.Observed, n), make([]error, n)
	var wg sync.WaitGroup
	const workers = 4
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				if found[i], errs[i] = proxy.Do(ctx, call); errs[i] == nil {
					found[i].Seen = awaitMirrors(ctx, proxy, found[i], outcomes)
					found[i].Flags = awaitFlags(ctx, c.Want, proxy, found[i])
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// awaitMirrors waits for the requests that must still arrive, for those of
// outcomes that a call can still become.
func awaitMirrors(ctx context.Context, proxy *envoy.Proxy, found envoy.Observed, outcomes []simulate.Outcome) []envoy.Seen {
	expected := math.MaxInt
	for _, o := range outcomes {
		n := 0
		for _, m := range o.Mirrors {
			if m.Chance == 1 && o.Attempts > 0 {
				n++
			}
		}
		expected = min(expected, n+o.Attempts)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return proxy.AwaitSeen(ctx, found, expected)
}

// awaitFlags waits for the access log of a call. Connections that are refused
// may have none.
func awaitFlags(ctx context.Context, w Want, proxy *envoy.Proxy, found envoy.Observed) string {
	if found.Closed != "" && w.Flags == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return proxy.AwaitFlags(ctx, found)
}

// compare matches each observed call with an outcome and checks that they come
// as often as foretold, within five standard deviations.
func (w Want) compare(outcomes []simulate.Outcome, found []envoy.Observed) (problems []string) {
	counts := make([]int, len(outcomes))
	for _, o := range found {
		best, differences := -1, []string(nil)
		for i, outcome := range outcomes {
			d := w.disagree(outcome, o)
			if best < 0 || len(d) < len(differences) {
				best, differences = i, d
			}
			if len(d) == 0 {
				break
			}
		}
		counts[best]++
		if len(differences) > 0 {
			problems = append(problems, "simulator and Envoy disagree: "+strings.Join(differences, "; "))
		}
		problems = append(problems, w.observed(o)...)
		if len(problems) > 5 {
			return problems
		}
	}
	if len(found) < 2 {
		return problems
	}
	for i, outcome := range outcomes {
		n, p := float64(len(found)), outcome.Probability
		if off := math.Abs(float64(counts[i]) - n*p); off > 5*math.Sqrt(n*p*(1-p))+1 {
			problems = append(problems, fmt.Sprintf("Envoy: %d of %d calls went %s, the simulator says %.1f%%", counts[i], len(found), way(outcome), 100*p))
		}
	}
	return problems
}

func way(o simulate.Outcome) string {
	if o.Local {
		return fmt.Sprintf("to a local %d", o.Status)
	}
	return "to " + o.Cluster
}

// timerSlack is by how much Envoy's timers may be early: they count whole
// milliseconds.
const timerSlack = 5 * time.Millisecond

// disagree lists the points on which an outcome and an observation differ.
func (w Want) disagree(o simulate.Outcome, found envoy.Observed) (d []string) {
	differ := func(what string, sim, real any) {
		if fmt.Sprint(sim) != fmt.Sprint(real) {
			d = append(d, fmt.Sprintf("%s is %v in the simulator, %v in Envoy", what, sim, real))
		}
	}
	if (o.Closed != "") != (found.Closed != "") {
		return []string{fmt.Sprintf("closed: %q in the simulator, %q in Envoy (status %d)", o.Closed, found.Closed, found.Status)}
	}
	differ("status", o.Status, found.Status)
	if o.Flags != "" && (found.Closed == "" || found.Flags != "") {
		differ("response flags", o.Flags, found.Flags)
	}
	d = append(d, asked(o, found)...)
	primary, mirrored := split(o, found)
	if o.Local {
		if o.Body != "" {
			differ("body", strings.TrimSpace(o.Body), strings.TrimSpace(found.Body))
		}
	}
	differ("attempts", o.Attempts, len(primary))
	d = append(d, headers("answer header", o.Response, found.Headers)...)
	for _, m := range o.Mirrors {
		if m.Chance == 1 && o.Attempts > 0 && !mirrored[m.Cluster] {
			d = append(d, "no copy reached "+m.Cluster)
		}
	}
	if len(primary) > 0 && o.Attempts > 0 {
		d = append(d, arrived(o, primary[0])...)
		if !o.Local && o.RouteTable != "" {
			differ("request's headers as written", o.Way.AsWritten, primary[0].AsWritten)
			differ("answer's headers as written", o.Way.AsWritten, found.AsWritten)
		}
	}
	if o.Credential != "" && found.Credential != "" {
		differ("credential", o.Credential, found.Credential)
	}
	if w.Within != "" {
		if limit, err := time.ParseDuration(w.Within); err != nil || found.Took > limit {
			d = append(d, fmt.Sprintf("the call took %v, not at most %s", found.Took, w.Within))
		}
	}
	if found.Took < o.Delay-timerSlack {
		d = append(d, fmt.Sprintf("delay is %v in the simulator, the call took %v in Envoy", o.Delay, found.Took))
	}
	return d
}

// split tells the requests that reached the outcome's cluster from copies.
func split(o simulate.Outcome, found envoy.Observed) (primary []envoy.Seen, mirrored map[string]bool) {
	mirrored = map[string]bool{}
	copies := map[string]bool{}
	for _, m := range o.Mirrors {
		copies[m.Cluster] = m.Cluster != o.Cluster
	}
	for _, s := range found.Seen {
		if copies[s.Cluster] || strings.Contains(s.Request.Host, "-shadow") {
			mirrored[s.Cluster] = true
		} else {
			primary = append(primary, s)
		}
	}
	return primary, mirrored
}

// arrived compares the request that an endpoint saw.
func arrived(o simulate.Outcome, s envoy.Seen) (d []string) {
	differ := func(what string, sim, real any) {
		if fmt.Sprint(sim) != fmt.Sprint(real) {
			d = append(d, fmt.Sprintf("%s is %v in the simulator, %v in Envoy", what, sim, real))
		}
	}
	differ("cluster", o.Cluster, s.Cluster)
	target, ok := targetOf(o, s)
	if !ok {
		d = append(d, fmt.Sprintf("endpoint %s is none of the simulator's %v", s.Endpoint, o.Upstreams))
	} else if target.TLS || !s.TLS || o.RouteTable != "" { // else the client's own TLS passes through
		differ("TLS to the endpoint", target.TLS, s.TLS)
		differ("SNI to the endpoint", target.SNI, s.SNI)
		differ("the proxy's certificate to the endpoint", target.Certificate, s.Peer != "")
	}
	differ("tunnel", o.Tunnel, s.Tunnel)
	differ("PROXY header to the endpoint", target.Proxied, s.Proxied)
	if o.Way.Protocol != "" {
		differ("protocol to the endpoint", o.Way.Protocol, s.Protocol)
	}
	if s.TCP || o.Request.Method == "" {
		return d
	}
	differ("method", o.Request.Method, s.Request.Method)
	differ("host", o.Request.Host, s.Request.Host)
	differ("path", o.Request.Path, s.Request.Path)
	return append(d, headers("request header", o.Request.Headers, s.Request.Headers)...)
}

func targetOf(o simulate.Outcome, s envoy.Seen) (simulate.Target, bool) {
	for _, t := range o.Upstreams {
		if t.Address == s.Endpoint || s.Endpoint == "*" {
			return t, true
		}
	}
	return simulate.Target{}, false
}

// quoted is a cookie's value, which is Envoy's affair.
var quoted = regexp.MustCompile(`"[^"]*"`)

// number is what a load report says, which Envoy has measured: "?" for the
// simulator.
var number = regexp.MustCompile(`=[0-9?]*`)

// headers compares what the simulator says of headers. What it says nothing
// of, Envoy adds for its own sake; the bytes of x-forwarded-client-cert depend
// on keys.
func headers(what string, sim, real simulate.Headers) (d []string) {
	for _, name := range sortedKeys(sim) {
		if name == "x-forwarded-client-cert" || name == "x-envoy-attempt-count" || name == "x-forwarded-proto" {
			continue
		}
		want, _ := sim.Get(name)
		got, there := real.Get(name)
		if there && (want == simulate.NewRequestID || name == "x-envoy-upstream-service-time") {
			continue // chance, and time
		}
		if name == "set-cookie" {
			got = quoted.ReplaceAllString(got, `"?"`)
		}
		if name == simulate.ReportHeader {
			want, got = number.ReplaceAllString(want, "="), number.ReplaceAllString(got, "=")
		}
		if strings.ReplaceAll(want, ", ", ",") != strings.ReplaceAll(got, ", ", ",") {
			d = append(d, fmt.Sprintf("%s %s is %q in the simulator, %q in Envoy", what, name, want, got))
		}
	}
	return d
}
