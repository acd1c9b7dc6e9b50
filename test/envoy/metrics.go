package envoy

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Requests are Envoy's counts of requests, one for each set of labels.
type Requests []*dto.Metric

// Requests reads istio_requests_total as the proxy has it now.
func (p *Proxy) Requests(ctx context.Context) (Requests, error) {
	page, err := p.admin(ctx, "/stats/prometheus?filter=requests_total")
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader([]byte(page)))
	return families["envoy_istio_requests_total"].GetMetric(), err
}

// RouteRequests reads how many requests Envoy has counted for the routes of a
// stat prefix: vhost.NAME.route.PREFIX.upstream_rq_total.
func (p *Proxy) RouteRequests(ctx context.Context, prefix string) (uint64, error) {
	return p.counters(ctx, "vhost.", `\.route\.`+regexp.QuoteMeta(prefix)+`\.upstream_rq_total`)
}

// ClusterRequests reads how many requests Envoy has counted for a cluster by
// the name of its statistics: cluster.NAME.upstream_rq_total.
func (p *Proxy) ClusterRequests(ctx context.Context, name string) (uint64, error) {
	return p.counters(ctx, "cluster.", `^cluster\.`+regexp.QuoteMeta(name)+`\.upstream_rq_total$`)
}

// ClusterConnections reads what Envoy counts of the connections of a cluster by
// the name of its statistics: cluster.NAME.upstream_cx_WHAT, such as "total",
// "active" and "close_notify".
func (p *Proxy) ClusterConnections(ctx context.Context, name, what string) (uint64, error) {
	return p.counters(ctx, "cluster.", `^cluster\.`+regexp.QuoteMeta(name)+`\.upstream_cx_`+what+`$`)
}

// counters adds up those that match a regular expression; their names have a
// prefix.
func (p *Proxy) counters(ctx context.Context, prefix, match string) (n uint64, err error) {
	page, err := p.admin(ctx, "/stats?filter="+url.QueryEscape(match))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(page) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		count, err := strconv.ParseUint(value, 10, 64)
		if !ok || err != nil || !strings.HasPrefix(name, prefix) {
			return 0, fmt.Errorf("statistics: %q", line)
		}
		n += count
	}
	return n, nil
}

// AwaitRequest waits until one more request is counted than in before; it
// returns the labels of its count, nil when ctx ends first.
func (p *Proxy) AwaitRequest(ctx context.Context, before Requests) (map[string]string, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := p.Requests(ctx)
		if err != nil {
			return nil, err
		}
		for _, m := range now {
			labels := labelsOf(m)
			was := slices.IndexFunc(before, func(old *dto.Metric) bool { return maps.Equal(labelsOf(old), labels) })
			if was < 0 || before[was].GetCounter().GetValue() < m.GetCounter().GetValue() {
				return labels, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func labelsOf(m *dto.Metric) map[string]string {
	out := map[string]string{}
	for _, l := range m.GetLabel() {
		out[l.GetName()] = l.GetValue()
	}
	return out
}
