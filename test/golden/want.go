package golden

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/test/envoy"
)

// findings collects the wants that do not hold.
type findings struct {
	by  string // who was asked
	all []string
}

func (f *findings) differ(what string, want, got any) {
	if fmt.Sprint(want) != fmt.Sprint(got) {
		f.all = append(f.all, fmt.Sprintf("%s: %s is %v, want %v", f.by, what, got, want))
	}
}

// text checks a value against a want that may be a regular expression.
func (f *findings) text(what string, want *string, got string) {
	if want != nil && !matches(*want, got) {
		f.all = append(f.all, fmt.Sprintf("%s: %s is %q, want %q", f.by, what, got, *want))
	}
}

func matches(want, got string) bool {
	expr, isRegexp := strings.CutPrefix(want, "~")
	if !isRegexp {
		return want == got
	}
	re, err := regexp.Compile(`\A(?:` + expr + `)\z`)
	return err == nil && re.MatchString(got)
}

func (f *findings) headers(what string, want map[string]*string, got simulate.Headers) {
	for _, name := range sortedKeys(want) {
		value, there := got.Get(name)
		switch {
		case want[name] == nil && there:
			f.all = append(f.all, fmt.Sprintf("%s: %s %s is %q, want none", f.by, what, name, value))
		case want[name] != nil && !there:
			f.all = append(f.all, fmt.Sprintf("%s: %s %s is absent, want %q", f.by, what, name, *want[name]))
		case want[name] != nil:
			f.text(what+" "+name, want[name], value)
		}
	}
}

// simulated checks what the simulator says.
func (w Want) simulated(outcomes []simulate.Outcome) []string {
	f := &findings{by: "simulator"}
	w.shares(f, outcomes)
	for _, o := range outcomes {
		if w.Flags != "" {
			f.differ("response flags", w.Flags, o.Flags)
		}
		if w.Closed != (o.Closed != "") {
			f.differ("closed", w.Closed, o.Closed)
			continue
		}
		w.checks(f, o.Checks)
		w.way(f, o)
		if w.Status != 0 {
			f.differ("status", w.Status, o.Status)
		}
		if w.Cluster != "" {
			f.differ("cluster", w.Cluster, o.Cluster)
		}
		if w.Attempts != 0 {
			f.differ("attempts", w.Attempts, o.Attempts)
		}
		if o.Local {
			f.text("body", w.Body, o.Body)
		}
		f.headers("answer header", w.Headers, o.Response)
		if o.Attempts > 0 {
			w.request(f, o.Request)
		}
	}
	return f.all
}

// way checks what only the simulator knows.
func (w Want) way(f *findings, o simulate.Outcome) {
	for what, pair := range map[string][2]string{
		"listener": {w.Listener, o.Listener}, "filterChain": {w.FilterChain, o.FilterChain}, "routeTable": {w.RouteTable, o.RouteTable},
		"virtualHost": {w.VirtualHost, o.VirtualHost},
	} {
		if pair[0] != "" {
			f.differ(what, pair[0], pair[1])
		}
	}
	f.text("route", w.Route, o.Route)
	f.text("stat prefix", w.StatPrefix, o.StatPrefix)
	if w.ClusterStat != "" {
		f.differ("cluster's statistics", w.ClusterStat, o.ClusterStat)
	}
	f.text("credential", w.Credential, o.Credential)
	f.text("tunnel", w.Tunnel, o.Tunnel)
	if w.Protocol != "" {
		f.differ("protocol", w.Protocol, o.Way.Protocol)
	}
	if w.AsWritten != nil {
		f.differ("headers' names as written", *w.AsWritten, o.Way.AsWritten)
	}
	if w.Spread != "" {
		f.differ("spread", w.Spread, o.Way.Spread)
	}
	if w.Closes != "" {
		f.differ("closes", w.Closes, plain(o.Way.Closes))
	}
	if w.Within != "" {
		if limit, err := time.ParseDuration(w.Within); err != nil || o.Delay+o.Backoff > limit {
			f.differ("time for faults and between tries", "at most "+w.Within, plain(o.Delay+o.Backoff))
		}
	}
	if w.Hash != "" {
		f.differ("hash table", w.Hash, o.Way.Table)
	}
	if w.Pings != "" {
		f.differ("pings", w.Pings, plain(o.Way.Pings))
	}
	if w.Keepalive != nil {
		f.differ("keepalive", *w.Keepalive, keepaliveOf(o.Way.Keepalive))
	}
	if w.Timeout != "" {
		f.differ("timeout", w.Timeout, plain(o.Timeout))
	}
	if w.Delay != "" {
		f.differ("delay", w.Delay, plain(o.Delay))
	}
	if w.Mirrors != nil {
		var names []string
		for _, m := range o.Mirrors {
			names = append(names, m.Cluster)
		}
		f.differ("mirrors", slices.Sorted(slices.Values(*w.Mirrors)), slices.Sorted(slices.Values(names)))
	}
	w.upstreams(f, o.Upstreams)
}

func keepaliveOf(k simulate.Keepalive) (out Keepalive) {
	if k.Time > 0 {
		out.Time = plain(k.Time)
	}
	if k.Interval > 0 {
		out.Interval = plain(k.Interval)
	}
	out.Probes = k.Probes
	return out
}

func (w Want) upstreams(f *findings, all []simulate.Target) {
	if w.Endpoints != nil {
		var addresses []string
		for _, t := range all {
			addresses = append(addresses, t.Address)
		}
		f.differ("endpoints", slices.Sorted(slices.Values(w.Endpoints)), slices.Sorted(slices.Values(addresses)))
	}
	if w.Shares != nil {
		got := map[string]float64{}
		for _, t := range all {
			got[t.Address] = 100 * t.Share
		}
		compareShares(f, "endpoint", w.Shares, got)
	}
	for _, t := range all {
		if w.TLS != nil {
			f.differ("TLS to "+t.Address, *w.TLS, t.TLS)
		}
		f.text("SNI to "+t.Address, w.SNI, t.SNI)
		f.text("PROXY header to "+t.Address, w.Proxied, t.Proxied)
		if w.ClientCert != nil {
			f.differ("certificate to "+t.Address, *w.ClientCert, t.Certificate)
		}
	}
}

// plain prints a duration as people write it: 15s, not 15s0ms.
func plain(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

func (w Want) request(f *findings, r simulate.Request) {
	f.text("host", w.Host, r.Host)
	f.text("path", w.Path, r.Path)
	if w.Method != "" {
		f.differ("method", w.Method, r.Method)
	}
	f.headers("request header", w.RequestHeaders, r.Headers)
}

// shares checks percentages of clusters and statuses.
func (w Want) shares(f *findings, outcomes []simulate.Outcome) {
	clusters, statuses := map[string]float64{}, map[int]float64{}
	for _, o := range outcomes {
		if o.Cluster != "" && !o.Local {
			clusters[o.Cluster] += 100 * o.Probability
		}
		statuses[o.Status] += 100 * o.Probability
	}
	compareShares(f, "cluster", w.Clusters, clusters)
	compareShares(f, "status", w.Statuses, statuses)
}

func compareShares[K string | int](f *findings, what string, want, got map[K]float64) {
	if want == nil {
		return
	}
	for _, k := range sortedKeys(got) {
		if _, named := want[k]; !named && got[k] > 0 {
			f.all = append(f.all, fmt.Sprintf("%s: %s %v gets %.2f%%, want none", f.by, what, k, got[k]))
		}
	}
	for _, k := range sortedKeys(want) {
		if math.Abs(want[k]-got[k]) > 0.005 {
			f.all = append(f.all, fmt.Sprintf("%s: %s %v gets %.2f%%, want %.2f%%", f.by, what, k, got[k], want[k]))
		}
	}
}

// observed checks what Envoy did in one call. Shares are compared with the
// simulator's elsewhere.
func (w Want) observed(o envoy.Observed) []string {
	f := &findings{by: "Envoy"}
	if w.Flags != "" {
		f.differ("response flags", w.Flags, o.Flags)
	}
	w.checks(f, o.Checks)
	if w.Closed || o.Closed != "" {
		if w.Closed != (o.Closed != "") {
			f.differ("closed", w.Closed, o.Closed)
		}
		return f.all
	}
	if w.Status != 0 {
		f.differ("status", w.Status, o.Status)
	}
	f.text("credential", w.Credential, o.Credential)
	f.text("body", w.Body, strings.TrimSuffix(o.Body, "\n"))
	f.headers("answer header", w.Headers, o.Headers)
	for _, s := range o.Seen {
		f.text("the proxy's certificate", w.Peer, s.Peer)
		if !s.TCP && !strings.Contains(s.Request.Host, "-shadow") {
			w.request(f, s.Request)
		}
	}
	return f.all
}
