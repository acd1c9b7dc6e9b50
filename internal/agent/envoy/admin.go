package envoy

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Admin speaks to Envoy's administration. Make it with NewAdmin.
type Admin struct {
	base   string
	client *http.Client
}

const adminTimeout = 2 * time.Second

// NewAdmin is for the administration at a Unix socket.
func NewAdmin(socket string) *Admin {
	// One connection is kept: probes come every second or two.
	transport := &http.Transport{MaxIdleConns: 1, MaxConnsPerHost: 4, IdleConnTimeout: time.Minute, DisableCompression: true}
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Admin{base: "http://envoy", client: &http.Client{Timeout: adminTimeout, Transport: transport}}
}

// Ready reports why Envoy cannot take traffic yet; nil once it is live and has
// taken its clusters and listeners from the pilot.
func (a *Admin) Ready(ctx context.Context) error {
	if err := a.do(ctx, http.MethodGet, "/ready", nil); err != nil {
		return fmt.Errorf("envoy is not live: %w", err)
	}
	const clusters, listeners = "cluster_manager.cds.update_success", "listener_manager.lds.update_success"
	stats, err := a.stats(ctx, `^(cluster_manager\.cds|listener_manager\.lds)\.update_success$`)
	switch {
	case err != nil:
		return err
	case stats[clusters] == 0:
		return fmt.Errorf("envoy has no clusters from the pilot yet")
	case stats[listeners] == 0:
		return fmt.Errorf("envoy has no listeners from the pilot yet")
	}
	return nil
}

// Drain tells clients to go elsewhere while requests are still served: the
// inbound listeners alone, or all. Envoy does not exit by itself.
func (a *Admin) Drain(ctx context.Context, inboundOnly bool) error {
	path := "/drain_listeners?graceful&skip_exit"
	if inboundOnly {
		path += "&inboundonly"
	}
	return a.do(ctx, http.MethodPost, path, nil)
}

// Runtime sets a value of Envoy's runtime, until it ends.
func (a *Admin) Runtime(ctx context.Context, key, value string) error {
	return a.do(ctx, http.MethodPost, "/runtime_modify?"+url.QueryEscape(key)+"="+url.QueryEscape(value), nil)
}

// Traffic is what an Envoy has to do with its clients.
type Traffic struct {
	Open    int64 // connections
	Busy    int64 // HTTP requests that run, and connections that are not HTTP
	Arrived int64 // all connections and requests so far
}

// Traffic counts downstream connections and requests, of the inbound listeners
// alone or of all that are not the proxy's own.
func (a *Admin) Traffic(ctx context.Context, inboundOnly bool) (Traffic, error) {
	stats, err := a.stats(ctx, `^(listener|http)\..*\.downstream_(cx|rq)_(active|total)$`)
	if err != nil {
		return Traffic{}, err
	}
	var t Traffic
	for stat, n := range stats {
		kind, rest, _ := strings.Cut(stat, ".")
		at := strings.LastIndexByte(rest, '.')
		if name := rest[:max(at, 0)]; countsAsTraffic(name, inboundOnly) {
			t.count(kind, rest[at+1:], n)
		}
	}
	t.Busy = max(t.Busy, 0)
	return t, nil
}

// count adds one statistic of a listener or of an HTTP connection manager,
// whose connections are a listener's, too.
func (t *Traffic) count(kind, stat string, n int64) {
	switch {
	case kind == "listener" && stat == "downstream_cx_active":
		t.Open, t.Busy = t.Open+n, t.Busy+n
	case kind == "listener" && stat == "downstream_cx_total", kind == "http" && stat == "downstream_rq_total":
		t.Arrived += n
	case kind == "http" && stat == "downstream_cx_active":
		t.Busy -= n
	case kind == "http" && stat == "downstream_rq_active":
		t.Busy += n
	}
}

// countsAsTraffic knows what is inbound by Istio's port or by its name,
// and leaves out what is counted twice (per thread) or is not traffic: the
// listeners of the bootstrap.
func countsAsTraffic(name string, inboundOnly bool) bool {
	if strings.Contains(name, ".worker_") || strings.HasSuffix(name, ".main_thread") {
		return false
	}
	if ownListener(name) {
		return false
	}
	return !inboundOnly || strings.HasSuffix(name, "_15006") || strings.Contains(strings.ToLower(name), "inbound")
}

// ownListener knows the listeners of the bootstrap.
func ownListener(name string) bool {
	return name == "admin" || name == "health" || name == "prometheus"
}

// Listeners are the names of those that the pilot has sent.
func (a *Admin) Listeners(ctx context.Context) (names []string, err error) {
	var page struct {
		Statuses []struct {
			Name string `json:"name"`
		} `json:"listener_statuses"`
	}
	err = a.do(ctx, http.MethodGet, "/listeners?format=json", func(body io.Reader) error { return json.NewDecoder(body).Decode(&page) })
	for _, l := range page.Statuses {
		if !ownListener(l.Name) {
			names = append(names, l.Name)
		}
	}
	return names, err
}

// OutHost is a host that Envoy leaves out as an outlier.
type OutHost struct{ Cluster, Address string }

// Out are the hosts that Envoy leaves out. Of the clusters only those are asked
// for that have some: the page of all is large.
func (a *Admin) Out(ctx context.Context) (out []OutHost, err error) {
	const stat = ".outlier_detection.ejections_active"
	stats, err := a.stats(ctx, `^cluster\..*`+regexp.QuoteMeta(stat)+"$")
	if err != nil {
		return nil, err
	}
	var names []string
	for name, n := range stats {
		if n > 0 {
			names = append(names, regexp.QuoteMeta(strings.TrimSuffix(strings.TrimPrefix(name, "cluster."), stat)))
		}
	}
	for some := range slices.Chunk(slices.Sorted(slices.Values(names)), maxFiltered) {
		err := a.do(ctx, http.MethodGet, "/clusters?filter="+url.QueryEscape("^("+strings.Join(some, "|")+")$"), func(body io.Reader) error {
			lines := bufio.NewScanner(body)
			for lines.Scan() {
				if h, is := outHost(lines.Text()); is {
					out = append(out, h)
				}
			}
			return lines.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// maxFiltered bounds the clusters of one question, which is a request's path.
const maxFiltered = 20

// outHost reads a line CLUSTER::ADDRESS::health_flags::/FLAG/FLAG.
func outHost(line string) (OutHost, bool) {
	of, flags, ok := strings.Cut(line, "::health_flags::")
	if !ok || !slices.Contains(strings.Split(flags, "/"), "failed_outlier_check") {
		return OutHost{}, false
	}
	cluster, address, ok := strings.Cut(of, "::")
	return OutHost{Cluster: cluster, Address: address}, ok
}

// Overflow is how often a limit of a cluster's circuit breakers was met.
type Overflow struct {
	Cluster string
	Stat    string // Envoy's counter: upstream_{cx,rq_pending,rq_active,rq_retry}_overflow
	Count   uint64 // since Envoy's start
}

var overflowed = regexp.MustCompile(`^cluster\.(.+)\.(upstream_(?:cx|rq_pending|rq_active|rq_retry)_overflow)$`)

// Overflows are those of all clusters that have met one.
func (a *Admin) Overflows(ctx context.Context) (out []Overflow, err error) {
	stats, err := a.stats(ctx, overflowed.String())
	for name, n := range stats {
		if found := overflowed.FindStringSubmatch(name); found != nil && n > 0 {
			out = append(out, Overflow{found[1], found[2], uint64(n)})
		}
	}
	return out, err
}

// Limits are those of clusters' circuit breakers by cluster, by the names that
// Envoy's message CircuitBreakers.Thresholds has for them. What has no limit is not
// there, nor is a cluster that has gone.
func (a *Admin) Limits(ctx context.Context, clusters []string) (map[string]map[string]uint64, error) {
	out := map[string]map[string]uint64{}
	for some := range slices.Chunk(clusters, maxFiltered) {
		quoted := make([]string, len(some))
		for i, name := range some {
			quoted[i] = regexp.QuoteMeta(name)
		}
		err := a.do(ctx, http.MethodGet, "/clusters?filter="+url.QueryEscape("^("+strings.Join(quoted, "|")+")$"), func(body io.Reader) error {
			lines := bufio.NewScanner(body)
			for lines.Scan() {
				cluster, limit, is := strings.Cut(lines.Text(), "::default_priority::")
				name, value, valued := strings.Cut(limit, "::")
				n, err := strconv.ParseUint(value, 10, 32)
				if !is || !valued || err != nil || n == math.MaxUint32 {
					continue
				}
				if out[cluster] == nil {
					out[cluster] = map[string]uint64{}
				}
				out[cluster][name] = n
			}
			return lines.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// stats returns the counters and gauges whose names match filter.
func (a *Admin) stats(ctx context.Context, filter string) (map[string]int64, error) {
	out := map[string]int64{}
	err := a.do(ctx, http.MethodGet, "/stats?filter="+url.QueryEscape(filter), func(body io.Reader) error {
		lines := bufio.NewScanner(body)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				out[name] = n
			}
		}
		return lines.Err()
	})
	return out, err
}

// maxAdminBody bounds what is read of an answer.
const maxAdminBody = 4 << 20

func (a *Admin) do(ctx context.Context, method, path string, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, nil)
	if err != nil {
		return err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body := io.LimitReader(response.Body, maxAdminBody)
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(body, 200))
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, strings.TrimSpace(string(text)))
	}
	if read == nil {
		_, err = io.Copy(io.Discard, body) // so that the connection is used again
		return err
	}
	return read(body)
}
