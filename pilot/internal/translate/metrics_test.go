package translate

import (
	"flag"
	"maps"
	"slices"
	"strings"
	"testing"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	stats "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stats/v3"

	"github.com/weftmesh/weft/internal/counted"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/test/listed"
)

var update = flag.Bool("update", false, "rewrite the proxies' part of docs/metrics.md")

// What proxies count is what counted.Help has, and the page lists both.
func TestMetricsAreListed(t *testing.T) {
	rows := map[string]listed.Row{}
	b := &builder{shared: shared{Settings: &model.Settings{}}}
	for _, s := range []side{clientSide(), serverSide(model.InboundPort{}, true), serverSide(model.InboundPort{}, false)} {
		for _, log := range slices.Concat(b.httpMetrics(s), b.tcpMetrics(s)) {
			if log.GetName() == statsLogger { // the agent adds to what these count
				collect(t, rows, log)
			}
		}
	}
	for name := range counted.Help {
		if _, counted := rows[name]; !counted {
			t.Errorf("counted.Help has %s, which no proxy counts", name)
		}
	}
	listed.Rows(t, "proxy", slices.Collect(maps.Values(rows)), *update)
}

func collect(t *testing.T, rows map[string]listed.Row, log *accesslog.AccessLog) {
	t.Helper()
	c := &stats.Config{}
	if err := log.GetTypedConfig().UnmarshalTo(c); err != nil {
		t.Fatal(err)
	}
	add := func(kind string, s *stats.Config_Stat) {
		name := c.GetStatsScope().GetPrefix() + "_" + s.GetName()
		r := listed.Row{Name: name, Type: kind, Help: counted.Help[name]}
		for _, tag := range s.GetTags() {
			r.Labels = append(r.Labels, tag.GetName())
		}
		if old, there := rows[name]; there && strings.Join(old.Labels, " ") != strings.Join(r.Labels, " ") {
			t.Errorf("%s has labels %v, and %v on another side", name, r.Labels, old.Labels)
		}
		rows[name] = r
	}
	for _, m := range c.GetCounters() {
		add("counter", m.GetStat())
	}
	for _, m := range c.GetGauges() {
		add("gauge", m.GetStat())
	}
	for _, m := range c.GetHistograms() {
		add("histogram", m.GetStat())
	}
}
