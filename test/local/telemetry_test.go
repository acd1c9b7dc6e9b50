package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// labels of a series, by name.
type labels map[string]string

// end is what a series says of the source or the destination.
// All of it is "unknown" if the workload is.
func end(side, workload, namespace, version string) labels {
	all := labels{
		"workload": workload, "workload_namespace": namespace, "app": workload, "canonical_service": workload,
		"version": version, "canonical_revision": version, "cluster": "Kubernetes",
		"principal": "spiffe://cluster.local/ns/" + namespace + "/sa/" + workload,
	}
	out := labels{}
	for name, value := range all {
		if workload == "unknown" {
			value = workload
		}
		out[side+"_"+name] = value
	}
	return out
}

func service(name string) labels {
	return labels{
		"destination_service":      name + ".default.svc.cluster.local",
		"destination_service_name": name, "destination_service_namespace": "default",
	}
}

func joined(all ...labels) labels {
	out := labels{"response_flags": "-"}
	for _, l := range all {
		maps.Copy(out, l)
	}
	return out
}

// series is a sum over pods that a page must show.
type series struct {
	pods   string // Deployment whose pods are asked
	metric string
	labels labels
	want   float64
}

// seen sums the series with exactly these labels over the pods.
func (m *running) seen(t *testing.T, s series) error {
	var sum float64
	var others []string
	err := m.each(t, s.pods, strings.TrimSuffix(s.metric, "_count"), func(one *dto.Metric) {
		if got := labelsOf(one); maps.Equal(got, s.labels) {
			sum += one.GetCounter().GetValue() + float64(one.GetHistogram().GetSampleCount())
		} else {
			others = append(others, difference(got, s.labels))
		}
	})
	if err != nil {
		return err
	}
	if sum != s.want {
		return fmt.Errorf("%s of %s is %v, want %v of %v; others differ in\n%s", s.metric, s.pods, sum, s.want, s.labels, strings.Join(others, "\n"))
	}
	return nil
}

// each is for the series of a metric on the pages of a Deployment's pods.
func (m *running) each(t *testing.T, deployment, metric string, do func(*dto.Metric)) error {
	pods, err := m.PodsOf(t.Context(), deployment)
	if err != nil {
		return err
	}
	for _, p := range pods {
		page, err := m.Exec(t.Context(), p.Namespace+"/"+p.Name, "curl", "-s", "127.0.0.1:15020/stats/prometheus")
		if err != nil {
			return err
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
		if err != nil {
			return fmt.Errorf("the page is no Prometheus text: %w", err)
		}
		for _, one := range families[metric].GetMetric() {
			do(one)
		}
	}
	return nil
}

// labelsOf are those that are not empty: an empty label is none.
func labelsOf(m *dto.Metric) labels {
	out := labels{}
	for _, l := range m.GetLabel() {
		if l.GetValue() != "" {
			out[l.GetName()] = l.GetValue()
		}
	}
	return out
}

func difference(got, want labels) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(joined(got, want))) {
		if got[name] != want[name] {
			out = append(out, fmt.Sprintf("%s=%q (want %q)", name, got[name], want[name]))
		}
	}
	return strings.Join(out, " ")
}

// TestMetricsCountWhatWasSent: both ends of each edge count the same requests
// and connections under the same names, and know who called.
func TestMetricsCountWhatWasSent(t *testing.T) {
	dir := folder(t)
	text, err := os.ReadFile(filepath.Join("testdata", "telemetry.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(dir, "telemetry.yaml"), strings.ReplaceAll(string(text), "BIN", binaries(t)))
	m := up(t, dir)
	const pages, calls = 15, 30
	for range pages {
		if status, _, body := m.get(t, "/"); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
	}
	bookshop := filepath.Join(binaries(t), "bookshop")
	exec := func(deployment string, command ...string) {
		t.Helper()
		if err := execIn(t.Context(), m, deployment, command...); err != nil {
			t.Fatal(err)
		}
	}
	exec("front", bookshop, "grpc-load", "--target", "stars:9000", "--calls", fmt.Sprint(calls))
	exec("front", "curl", "-sf", "http://bytes:7000/")
	exec("legacy", "curl", "-sf", "http://bytes:7000/")

	http := labels{"request_protocol": "http", "response_code": "200"}
	grpc := labels{"request_protocol": "grpc", "response_code": "200", "grpc_response_status": "0"}
	source := labels{"reporter": "source", "connection_security_policy": "unknown"}
	destination := labels{"reporter": "destination", "connection_security_policy": "mutual_tls"}
	plain := labels{"reporter": "destination", "connection_security_policy": "none"}
	fromGateway, fromFront := end("source", "istio-ingressgateway", "weft-system", "latest"), end("source", "front", "default", "v1")
	toFront := joined(end("destination", "front", "default", "v1"), service("front"))
	toDetails := joined(end("destination", "details", "default", "v1"), service("details"))
	toStars := joined(end("destination", "stars", "default", "v2"), service("stars"))
	toBytes := joined(end("destination", "bytes", "default", "latest"), service("bytes"))
	all := []series{
		{"istio-ingressgateway", "istio_requests_total", joined(source, http, fromGateway, toFront), pages},
		{"front", "istio_requests_total", joined(destination, http, fromGateway, toFront), pages},
		{"front", "istio_requests_total", joined(source, http, fromFront, toDetails), 2 * pages},
		{"details", "istio_requests_total", joined(destination, http, fromFront, toDetails), 2 * pages},
		{"front", "istio_requests_total", joined(source, grpc, fromFront, toStars), calls},
		{"stars", "istio_requests_total", joined(destination, grpc, fromFront, toStars), calls},
		{"bytes", "istio_tcp_connections_opened_total", joined(plain, end("source", "unknown", "", ""), toBytes), 1},
	}
	for _, metric := range []string{"istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"} {
		all = append(all, series{"details", metric, joined(destination, http, fromFront, toDetails), 2 * pages})
	}
	for _, metric := range []string{"istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total"} {
		all = append(all,
			series{"front", metric, joined(source, fromFront, toBytes), 1},
			series{"bytes", metric, joined(destination, fromFront, toBytes), 1})
	}
	for _, s := range all {
		eventually(t, 15*time.Second, "it is counted", func() error {
			return m.seen(t, s)
		})
	}
	m.inBuckets(t, "details", joined(destination, http, fromFront, toDetails), func() {
		pods, err := m.PodsOf(t.Context(), "details")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pods {
			if out, err := m.Exec(t.Context(), p.Namespace+"/"+p.Name, bookshop, "ctl", "delay", "700ms"); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		for range slow {
			exec("front", "curl", "-sf", "-o", "/dev/null", "-d", strings.Repeat("x", 6000), "http://details/")
		}
	})
	account := "spiffe://cluster.local/ns/default/sa/"
	figuresAgree(t, m, []counted{
		{"workloads", "istio-ingressgateway", pages, 0, -1}, {"workloads", "front", pages, 0, 1}, {"workloads", "details", 2*pages + slow, 0, 1},
		{"workloads", "stars", calls, 0, 1}, {"workloads", "bytes", 0, 2, 0.5},
		{"services", "details", 2*pages + slow, 0, 1}, {"services", "bytes", 0, 2, 0.5}, {"routes", "stars", calls, 0, 1},
	}, map[string]float64{account + "front>details": 2*pages + slow, account + "front>stars": calls, account + "front>bytes": 1, "unknown>bytes": 1})
}

// slow calls take 700 ms and have 6,000 bytes, and a few hundred of headers.
const slow = 3

// inBuckets: what do sends is in the buckets that it belongs to. Bounds are some way
// off, so that a busy machine changes nothing.
func (m *running) inBuckets(t *testing.T, pods string, of labels, do func()) {
	t.Helper()
	more := map[string]map[string]float64{
		"istio_request_duration_milliseconds": {"500": 0, "30000": slow, "+Inf": slow}, "istio_request_bytes": {"5000": 0, "10000": slow, "+Inf": slow},
	}
	before := map[string]map[string]float64{}
	for metric := range more {
		found, err := m.buckets(t, pods, metric, of)
		if err != nil || len(found) < 10 {
			t.Fatalf("%s: %v, %v", metric, found, err)
		}
		before[metric] = found
	}
	do()
	for metric, bounds := range more {
		eventually(t, 15*time.Second, metric+" in its buckets", func() error {
			now, err := m.buckets(t, pods, metric, of)
			for le, want := range bounds {
				if got := now[le] - before[metric][le]; err == nil && got != want {
					err = fmt.Errorf("%v more up to %s, want %v", got, le, want)
				}
			}
			return err
		})
	}
}

// buckets are how many values of a histogram are at most each bound.
func (m *running) buckets(t *testing.T, pods, metric string, of labels) (map[string]float64, error) {
	out := map[string]float64{}
	err := m.each(t, pods, metric, func(one *dto.Metric) {
		if !maps.Equal(labelsOf(one), of) {
			return
		}
		for _, b := range one.GetHistogram().GetBucket() {
			out[strconv.FormatFloat(b.GetUpperBound(), 'f', -1, 64)] += float64(b.GetCumulativeCount())
		}
	})
	return out, err
}

// execIn runs a command in the first pod of a Deployment.
func execIn(ctx context.Context, m *running, deployment string, command ...string) error {
	pods, err := m.PodsOf(ctx, deployment)
	if err != nil {
		return err
	}
	out, err := m.Exec(ctx, pods[0].Namespace+"/"+pods[0].Name, command...)
	if err != nil {
		return errors.Join(err, fmt.Errorf("it printed %.300s", out))
	}
	return nil
}
