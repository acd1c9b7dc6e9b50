package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/dashboard"
	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/test/prometheus"
)

// What Prometheus' API answers becomes points; what no number can be is not known, and
// an answer that is none is an error.
func TestRecordedPoints(t *testing.T) {
	end := time.Unix(7200, 0)
	matrix := func(result string) string {
		return `{"status":"success","data":{"resultType":"matrix","result":[` + result + `]}}`
	}
	series := func(place, values string) string {
		return `{"metric":{"weft_figure":"` + place + `"},"values":[` + values + `]}`
	}
	for answer, want := range map[string]string{
		matrix(""): "[]",
		matrix(series("0", `[3600,"1.5"],[7200,"2"]`) + "," + series("1", `[7200,"NaN"],[7200.2,"0.5"]`)): `3600 rate 1.5; 7200 rate 2 success 0.5; `,
		matrix(series("2", `[7200,"+Inf"],["7200","1"],[7200,1],[0,"1"],[1e300,"1"],[7170,"9"]`)):         `7170 p50 9; `,
		matrix(series("9", `[7200,"1"]`)):                                "!series that were not asked for",
		matrix(series("", "")):                                           "!series that were not asked for",
		matrix(strings.Repeat(series("0", "")+",", 8) + series("0", "")): "!not one to such a question",
		`{"status":"error","error":"bad\u001b"}`:                         "!not one to such a question",
		"<html>":                                                         "!not one of Prometheus' API",
		"[]":                                                             "!not one of Prometheus' API",
		"":                                                               "!not one of Prometheus' API",
		`"` + strings.Repeat("x", maxRecorded):                           "!larger than 8 MiB",
	} {
		points, err := recordedPoints([]byte(answer), end)
		if says, wrong := strings.CutPrefix(want, "!"); wrong {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%.100s: %v, want %q", answer, err, says)
			}
			continue
		}
		got := ""
		for _, p := range points {
			got += fmt.Sprint(p.At.Unix())
			for name, v := range map[string]*float64{" rate": p.Rate, " p50": p.P50} {
				if v != nil {
					got += fmt.Sprint(name, " ", *v)
				}
			}
			if p.Success != nil {
				got += fmt.Sprint(" success ", *p.Success)
			}
			got += "; "
		}
		if err != nil || got != want && (want != "[]" || len(points) > 0) {
			t.Errorf("%.200s: %s %v, want %s", answer, got, err, want)
		}
	}
}

func FuzzRecordedPoints(f *testing.F) {
	f.Add([]byte(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"weft_figure":"0"},"values":[[7200,"1"]]}]}}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		points, _ := recordedPoints(answer, time.Unix(7200, 0))
		if _, err := json.Marshal(points); err != nil || len(points) > 121 {
			t.Errorf("%d points, %v", len(points), err)
		}
	})
}

// A Prometheus that is away, refuses, redirects or is huge is an error that a terminal may
// have; what a name has in it stays a name.
func TestRecorderAt(t *testing.T) {
	for _, wrong := range []string{"localhost:9090", "ftp://x", "http://", "://"} {
		if _, err := recorderAt(wrong); err == nil || (&app{err: io.Discard}).code(err) != 2 {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	var asked atomic.Value
	answer := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.Path + "?" + r.URL.Query().Get("query"))
		answer(w, r)
	}))
	defer server.Close()
	r, err := recorderAt(server.URL + "/prefix/")
	if err != nil {
		t.Fatal(err)
	}
	for says, does := range map[string]func(http.ResponseWriter, *http.Request){
		`no\u001b[2J`: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no\x1b[2J", http.StatusTeapot) },
		"Found": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		},
		"larger than 8 MiB": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 9<<20)) },
	} {
		answer = does
		if _, err := past(t.Context(), r, dashboard.Charted{Kind: figures.Services, Namespace: "n", Name: "a\"}\n or vector(1)"}); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), server.URL) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	if got := asked.Load().(string); !strings.HasPrefix(got, "/prefix/api/v1/query_range?label_replace(") || !strings.Contains(got, `destination_service_name="a\"}\n or vector(1)"`) {
		t.Error(got)
	}
	server.Close()
	_, err = past(t.Context(), r, dashboard.Charted{Kind: figures.Pods, Namespace: "n", Name: "p"})
	if err == nil || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "query_range") {
		t.Errorf("nobody is there: %v", err)
	}
}

// Whoever may run a pod in some namespace may label it as Prometheus: none is believed
// where there are several.
func TestWhichPrometheus(t *testing.T) {
	pod := func(namespace, name string, port int32, ready corev1.ConditionStatus) corev1.Pod {
		out := corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 15020}, {ContainerPort: port}}}}}}
		out.Namespace, out.Name, out.Status.Conditions = namespace, name, []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
		return out
	}
	for want, pods := range map[string][]corev1.Pod{
		"no Prometheus":                   {pod("monitoring", "alertmanager", 9093, corev1.ConditionTrue)},
		"monitoring/b":                    {pod("monitoring", "alertmanager", 9093, corev1.ConditionTrue), pod("monitoring", "a", 9090, corev1.ConditionFalse), pod("monitoring", "b", 9090, corev1.ConditionTrue)},
		"monitoring/a":                    {pod("monitoring", "a", 9090, corev1.ConditionFalse)},
		"aaa/x and monitoring/b are both": {pod("aaa", "x", 9090, corev1.ConditionTrue), pod("monitoring", "b", 9090, corev1.ConditionTrue)},
	} {
		got, err := onePrometheus(pods)
		if text := fmt.Sprint(got.Namespace, "/", got.Name, " ", err); !strings.Contains(text, want) {
			t.Errorf("%s, want %s", text, want)
		}
	}
}

// A Prometheus that is installed later is found; one that fails is looked for again, and
// who asks while another waits for its answer waits for nobody.
func TestPrometheusComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looked, there, answer := 0, false, error(nil)
		r := &recorderPod{find: func(context.Context) (corev1.Pod, error) {
			if looked++; !there {
				return corev1.Pod{}, errNoRecorder
			}
			pod := corev1.Pod{}
			pod.Namespace, pod.Name = "monitoring", "p"
			return pod, nil
		}, ask: func(context.Context, corev1.Pod, string) ([]byte, error) {
			<-time.After(1500 * time.Millisecond)
			return []byte(`{"status":"success","data":{"resultType":"matrix","result":[]}}`), answer
		}}
		ask := func(ctx context.Context) (dashboard.History, error) {
			return past(ctx, r, dashboard.Charted{Kind: figures.Pods, Namespace: "n", Name: "p"})
		}
		want := func(by string, looks int) {
			t.Helper()
			h, err := ask(t.Context())
			if looked != looks || answer == nil && (err != nil || h.By != by) {
				t.Errorf("by %q after %d looks, %v, want %q after %d", h.By, looked, err, by, looks)
			}
		}
		want("", 1)
		there = true
		want("", 1)
		<-time.After(findEvery)
		want("monitoring/p", 2)
		began := time.Now()
		other := make(chan error)
		go func() { _, err := ask(t.Context()); other <- err }()
		want("monitoring/p", 2)
		if err := <-other; err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("two at once took %v, %v", time.Since(began), err)
		}
		answer = io.ErrUnexpectedEOF
		gone, leave := context.WithCancel(t.Context())
		leave()
		_, _ = ask(gone)
		want("monitoring/p", 2)
		want("monitoring/p", 3)
	})
}

// A real Prometheus takes the question, and its answer is what was counted.
func TestRealPrometheusHasThePast(t *testing.T) {
	r, err := recorderAt("http://" + prometheus.Start(t, countedMore(t)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		wrong := ""
		for _, of := range []dashboard.Charted{
			{Kind: figures.Workloads, Name: `odd"name`, By: figures.ByServer}, {Kind: figures.Services, Name: "a"}, {Kind: figures.Pods, Name: "a-1"},
			{Kind: figures.Workloads, Name: "gw", By: figures.ByGateway}, {Kind: figures.Pods, Name: "gw-1", By: figures.ByGateway},
			{Kind: figures.Workloads, Name: "outside", By: figures.ByClients}, {Kind: figures.Services, Name: "b"},
		} {
			of.Namespace = "n"
			past, err := past(ctx, r, of)
			if why := strange(past, err); why != "" {
				wrong += fmt.Sprintf("%+v: %s\n", of, why)
			}
		}
		if past, err := past(ctx, r, dashboard.Charted{Kind: figures.Services, Namespace: "n", Name: "nosuch"}); wrong == "" && (err != nil || len(past.Points) > 0) {
			t.Errorf("of no such service: %v, %v", past, err)
		}
		if wrong == "" {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(wrong)
		case <-tick.C:
		}
	}
}

// strange says what is wrong with the newest point: of the requests a quarter fails, and
// there are as many connections.
func strange(past dashboard.History, err error) string {
	if err != nil || len(past.Points) == 0 {
		return fmt.Sprintf("no points: %v", err)
	}
	p := past.Points[len(past.Points)-1]
	for name, v := range map[string]*float64{"rate": p.Rate, "success": p.Success, "p50": p.P50, "p99": p.P99, "received": p.Received, "sent": p.Sent, "tcp": p.TCP} {
		if v == nil {
			return name + " is not known"
		}
	}
	near := func(a, b float64) bool { return math.Abs(a-b) <= 0.01*b }
	if !near(*p.Success, 0.75) || !near(*p.P50, 5) || !near(*p.Received, 40**p.Rate) || !near(*p.Sent, 20**p.Rate) || !near(*p.TCP, *p.Rate) {
		return fmt.Sprintf("success %v, p50 %v, received %v, sent %v, tcp %v at rate %v", *p.Success, *p.P50, *p.Received, *p.Sent, *p.TCP, *p.Rate)
	}
	return ""
}

// countedMore is the address of a page on which requests are counted, more each time.
func countedMore(t *testing.T) string {
	t.Helper()
	var scrapes atomic.Int64
	const (
		same = `,destination_workload_namespace="n",destination_service_namespace="n",namespace="n",grpc_response_status=""`
		// By a server, of callers without a proxy; by a gateway, of which a quarter overflows.
		served = `reporter="destination",destination_workload="odd\"name",destination_service_name="a",pod="a-1"` + same
		asked  = `reporter="source",source_workload_namespace="n",source_workload="gw",destination_workload="outside",destination_service_name="b",pod="gw-1"` + same
		// What arrived of these, by a server: nobody's figures.
		arrived = `reporter="destination",source_workload="gw",destination_workload="w",destination_service_name="b",pod="w-1"` + same
	)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := scrapes.Add(1) * 4
		for labels, flags := range map[string]string{served: "-", asked: "UO"} {
			fmt.Fprintf(w, "istio_requests_total{%[1]s,response_code=\"200\",response_flags=\"-\"} %[2]d\nistio_requests_total{%[1]s,response_code=\"503\",response_flags=\"%[4]s\"} %[3]d\n", labels, n*3/4, n/4, flags)
			fmt.Fprintf(w, "istio_request_duration_milliseconds_bucket{%[1]s,le=\"10\"} %[2]d\nistio_request_duration_milliseconds_bucket{%[1]s,le=\"+Inf\"} %[2]d\nistio_request_duration_milliseconds_count{%[1]s} %[2]d\n", labels, n)
			fmt.Fprintf(w, "istio_request_bytes_sum{%[1]s} %[2]d\nistio_response_bytes_sum{%[1]s} %[3]d\nistio_tcp_received_bytes_total{%[1]s} %[2]d\nistio_tcp_sent_bytes_total{%[1]s} %[3]d\nistio_tcp_connections_opened_total{%[1]s} %[4]d\n",
				labels, n*20, n*10, n)
		}
		fmt.Fprintf(w, "istio_requests_total{%s,response_code=\"200\",response_flags=\"-\"} %d\n", arrived, n*3/4)
		fmt.Fprint(w, "istio_build{component=\"proxy\",namespace=\"n\",pod=\"a-1\"} 1\nweft_upstream_ejected{namespace=\"n\",pod=\"c-1\",destination_pod=\"n/a-1\",reason=\"x\"} 1\n")
	}))
	t.Cleanup(server.Close)
	return server.URL
}
