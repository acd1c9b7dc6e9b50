package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/internal/local/controller"
	"github.com/weftmesh/weft/pilot"
)

// counted asks all proxies that are looked at, and says which did answer,
// "namespace/pod": of others nothing is known.
func (from asker) counted(ctx context.Context, w *mtlsStatus, problems io.Writer) (out []pilot.PlainCalls, answered []string, err error) {
	var lock sync.Mutex
	err = each(ctx, from.pods, func(asking context.Context, p controller.PodStatus) error {
		if p.Proxyless || w.from != "" && p.Namespace != w.from {
			return nil
		}
		calls, err := from.plainCalls(asking, p)
		lock.Lock()
		defer lock.Unlock()
		if err != nil {
			fmt.Fprintf(problems, "pod %s/%s: who called it is not known: %v\n", p.Namespace, p.Name, figures.Printable(err.Error(), 500))
			return ctx.Err()
		}
		answered = append(answered, p.Namespace+"/"+p.Name)
		out = append(out, calls...)
		return nil
	})
	return out, answered, err
}

func (from asker) plainCalls(ctx context.Context, p controller.PodStatus) ([]pilot.PlainCalls, error) {
	text, err := from.page(ctx, p, "stats?format=prometheus&filter="+url.QueryEscape(`^weft\.plaintext_`))
	if err != nil {
		return nil, err
	}
	return callsOf(p.Namespace, p.Name, text)
}

// callsOf reads a proxy's page.
func callsOf(namespace, pod string, page []byte) (out []pilot.PlainCalls, err error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		return nil, err
	}
	last := map[pilot.PlainCalls]time.Time{}
	for _, m := range families["envoy_weft_plaintext_last_call_timestamp_seconds"].GetMetric() {
		if by, whole := callsBy(namespace, pod, m); whole {
			last[by] = timeOf(m.GetGauge().GetValue())
		}
	}
	for _, m := range families["envoy_weft_plaintext_calls_total"].GetMetric() {
		if by, whole := callsBy(namespace, pod, m); whole {
			by.Calls, by.Last = countOf(m.GetCounter().GetValue()), last[by]
			out = append(out, by)
		}
	}
	return out, nil
}

// timeOf reads seconds; what is no time that is near is not known.
func timeOf(seconds float64) time.Time {
	if n := countOf(seconds); n > 0 && n < 4*math.MaxInt32 {
		return time.Unix(int64(n), 0)
	}
	return time.Time{}
}

// countOf is 0 for what no proxy counts: NaN, infinite, negative.
func countOf(v float64) uint64 {
	if !(v > 0 && v < 1<<53) {
		return 0
	}
	return uint64(v)
}

// callsBy reads a series' labels, which are whole where they name an address. A
// pod may serve the page itself: nothing is taken but what a proxy would write.
func callsBy(namespace, pod string, m *dto.Metric) (c pilot.PlainCalls, whole bool) {
	c = pilot.PlainCalls{Namespace: namespace, Pod: pod}
	for _, l := range m.GetLabel() {
		switch value := l.GetValue(); l.GetName() {
		case "source_address":
			if address, err := netip.ParseAddr(value); err == nil && address.Zone() == "" {
				c.Address = address.String()
			}
		case "destination_port":
			if port, err := strconv.ParseUint(value, 10, 16); err == nil {
				c.Port = uint32(port)
			}
		case "wire":
			if value == "plaintext" || value == "tls" {
				c.Wire = value
			}
		}
	}
	return c, c.Address != ""
}
