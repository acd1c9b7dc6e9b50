package cli

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/internal/local/controller"
)

// mesh is a way to pods that answer with these pages, by pod; "": not at all.
func mesh(pages map[string]string, pods ...controller.PodStatus) reach {
	return reach{
		list: func(context.Context) ([]controller.PodStatus, error) { return pods, nil },
		get: func(_ context.Context, p controller.PodStatus, port int, _ string) ([]byte, error) {
			name := p.Name
			if port == adminPort {
				name += " clusters"
			}
			if pages[name] == "" {
				return nil, errors.New("away")
			}
			return []byte(pages[name]), nil
		},
	}
}

const (
	ejecting = "envoy_cluster_outlier_detection_ejections_active{cluster_name=\"x\"} 1\n"
	clusters = `{"cluster_statuses": [{"name": "outbound|80||b", "host_statuses": [
		{"address": {"socket_address": {"address": "10.0.0.2", "port_value": 80}}, "health_status": {"failed_outlier_check": true},
			"stats": [{"name": "rq_total", "value": "12"}, {"name": "rq_error", "value": "5"}, {"name": "cx_connect_fail"}]},
		{"address": {"socket_address": {"address": "10.0.0.3", "port_value": 80}}, "health_status": {}}]}]}`
	hostile = "istio_requests_total{reporter=\"source\",destination_service_name=\"a\x1b[2J\x1b[31m\u202e\\n\",response_code=\"200\"} 1\n"
)

// What a page says of ejected hosts explains those, and is not kept with samples.
func TestLookForgetsReasons(t *testing.T) {
	why := ejecting + "weft_upstream_ejected_timestamp_seconds{destination_service=\"b\",destination_port=\"80\",destination_subset=\"\",address=\"10.0.0.2:80\",reason=\"r\"} 1\n"
	all := []controller.PodStatus{{Namespace: "n", Name: "explained", Synced: "yes"}, {Namespace: "n", Name: "fails", Synced: "yes"}, {Namespace: "n", Name: "quiet", Synced: "yes"}, {Namespace: "n", Name: "plain", Proxyless: true, Synced: "yes"}}
	l, err := mesh(map[string]string{"explained": why, "explained clusters": clusters, "fails": why, "quiet": strings.TrimPrefix(why, ejecting), "plain": why}, all...).look(t.Context())
	if err != nil || len(l.samples) != len(all) || len(l.hosts) == 0 || l.hosts[0].why.Reason != "r" {
		t.Fatalf("%+v, %v", l, err)
	}
	for name, s := range l.samples {
		if s.Out != nil {
			t.Errorf("%s: %v is kept", name, s.Out)
		}
	}
}

// A pod that does not answer is said, and hosts that are ejected are looked for
// where a proxy leaves some out.
func TestLook(t *testing.T) {
	a := controller.PodStatus{Namespace: "n", Name: "a", Synced: "yes", Sidecar: true, IP: "10.0.0.1"}
	b := controller.PodStatus{Namespace: "n", Name: "b", Workload: "w", Synced: "yes", Sidecar: true, IP: "10.0.0.2"}
	gone := controller.PodStatus{Namespace: "n", Name: "gone", Synced: "no"}
	none := controller.PodStatus{Namespace: "n", Name: "none", IP: "10.0.0.3"}
	l, err := mesh(map[string]string{"a": ejecting, "a clusters": clusters, "b": "x 1\n"}, a, b, gone, none).look(t.Context())
	if err != nil || len(l.samples) != 2 || len(l.missing) != 1 || !strings.Contains(l.missing[0], "n/gone: away") {
		t.Fatalf("%+v, %v", l, err)
	}
	if len(l.hosts) != 2 || l.hosts[0].pod != "n/b" || l.hosts[0].by.Name != "a" || l.hosts[0].address != "10.0.0.2:80" {
		t.Errorf("hosts: %+v", l.hosts)
	}
	for _, p := range l.pods {
		if want := p.Name == "b"; (p.Ejected == 1) != want || p.Gateway != (p.Name == "gone") || p.Proxy != (p.Name != "none") {
			t.Errorf("%+v", p)
		}
	}
	if _, err := mesh(nil, a).look(t.Context()); err == nil || !strings.Contains(err.Error(), "no proxy answers: n/a: away") {
		t.Errorf("nobody answers: %v", err)
	}
	if l, err := mesh(nil, none).look(t.Context()); err != nil || len(figures.Rows(figures.Pods, l.pods, l.samples.All())) != 0 {
		t.Errorf("a mesh without proxies: %v", err)
	}
}

// A pod that was not there when a time began is said.
func TestCountSaysWhoCameLate(t *testing.T) {
	a := controller.PodStatus{Namespace: "n", Name: "a", Synced: "yes", Sidecar: true}
	late := controller.PodStatus{Namespace: "n", Name: "late", Synced: "yes", Sidecar: true}
	r := mesh(map[string]string{"a": "x 1\n", "late": "x 1\n"}, a, late)
	looks := 0
	r.list = func(context.Context) ([]controller.PodStatus, error) {
		looks++
		return []controller.PodStatus{a, late}[:looks], nil
	}
	before, err := r.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, counted, err := (&app{err: io.Discard}).count(t.Context(), r.look, before, time.Millisecond)
	if err != nil || len(counted) != 1 || len(l.missing) != 1 || !strings.HasPrefix(l.missing[0], "n/late: it was not there") {
		t.Errorf("%v, %v, %v", l.missing, counted, err)
	}
}

// What a workload can name itself does nothing to a terminal.
func TestTablesOfHostileNames(t *testing.T) {
	a := controller.PodStatus{Namespace: "n\x1b[1A", Name: "a\r\n", Synced: "yes", Sidecar: true}
	l, err := mesh(map[string]string{a.Name: hostile}, a).look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range figures.Kinds() {
		for _, row := range figureRows(&choice{kind: kind}, figures.Rows(kind, l.pods, l.samples.All())) {
			if text := strings.Join(row, ""); strings.ContainsAny(text, "\x1b\r\n\u202e") {
				t.Errorf("%s: %q", kind, text)
			}
		}
	}
}

func TestFigureCells(t *testing.T) {
	at := func(v float64) *float64 { return &v }
	for _, c := range []struct{ got, want string }{
		{percent(nil), ""}, {percent(at(1)), "100%"}, {percent(at(0.99999)), "99.99%"}, {percent(at(0.000001)), "0.01%"}, {percent(at(0)), "0%"}, {percent(at(0.5)), "50.00%"},
		{perSecond(at(0)), "0"}, {perSecond(at(0.25)), "0.25"}, {perSecond(at(1234.4)), "1234"},
		{milliseconds(math.NaN()), ""}, {milliseconds(0.44), "0.4ms"}, {milliseconds(321.2), "321ms"}, {milliseconds(3600000), "3600.0s"},
		{size(math.NaN()), ""}, {size(0), "0B"}, {size(999), "999B"}, {size(999.6), "1.0kB"}, {size(12345), "12kB"}, {size(3e15), "3000TB"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// The order is by what was asked for, and what is not known comes last.
func TestFiguresSorted(t *testing.T) {
	at := func(v float64) *float64 { return &v }
	rows := []figures.Row{
		{Name: "a"}, {Name: "b", Figures: figures.Figures{Requests: 5, SuccessRate: at(1), Latency: &figures.Latency{P99: 3}}},
		{Name: "c", Figures: figures.Figures{Requests: 9, SuccessRate: at(0.5), Latency: &figures.Latency{P99: 1}}},
	}
	for by, want := range map[string]string{"name": "abc", "rps": "cba", "p99": "bca", "success": "cba", "mtls": "abc"} {
		var got strings.Builder
		for _, r := range (&choice{sort: by}).ordered(slices.Clone(rows)) {
			got.WriteString(r.Name)
		}
		if got.String() != want {
			t.Errorf("by %s: %s, want %s", by, got.String(), want)
		}
	}
}

func TestFigureCommandsWrong(t *testing.T) {
	for args, says := range map[string]string{
		"stat planets": "figures are of workloads, pods, services, routes", "stat --sort age": "it is one of name, share", "stat --window -1s": "may not be negative",
		"stat a b c": "usage: weft stat", "stat --prometheus x": "it is an address such as", "top --prometheus http://127.0.0.1:1 --window 5s": "can tell of 1m0s and more", "edges --prometheus ftp://x --window 1m": "it is an address such as", "edges --window -1s": "may not be negative", "stat -o yaml": "it may be json",
	} {
		if code, _, err := run(t, strings.Fields(args)...); code != 2 || !strings.Contains(err, says) {
			t.Errorf("weft %s: exit code %d, %q, want %q", args, code, err, says)
		}
	}
}
