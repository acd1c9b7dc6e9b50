package envoy

import (
	"bytes"
	"context"
	"maps"
	"slices"
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
