package figures

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// line is a count of requests as an agent's page has it.
func line(reporter, edge, rest string, value any) string {
	from, to, _ := strings.Cut(edge, ">")
	side := func(name, workload string) string {
		ns, principal := "shop", "spiffe://td/ns/shop/sa/"+workload
		if workload == Unknown {
			ns, principal = Unknown, Unknown
		}
		return fmt.Sprintf(`%s_workload="%s",%s_workload_namespace="%s",%s_principal="%s",%s_canonical_revision="v1"`, name, workload, name, ns, name, principal, name)
	}
	service := strings.TrimSuffix(to, "-v2")
	return fmt.Sprintf("%s{reporter=%q,%s,%s,destination_service_name=%q,destination_service_namespace=\"shop\"%s} %v\n",
		requestsTotal, reporter, side("source", from), side("destination", to), service, rest, value)
}

const ok = `,response_code="200",response_flags="-",request_protocol="http",connection_security_policy="mutual_tls"`

func read(t *testing.T, pod string, at time.Time, lines ...string) Sample {
	t.Helper()
	s, err := Read(strings.NewReader(strings.Join(lines, "")), Pod{Namespace: "shop", Name: pod + "-x", Workload: pod, Proxy: true}, at)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func find(t *testing.T, rows []Row, name string) Row {
	t.Helper()
	for _, r := range rows {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no row %s in %+v", name, rows)
	return Row{}
}

// Rows count each request once, whoever else has counted it too.
func TestRowsCountEachRequestOnce(t *testing.T) {
	at := time.Unix(1000, 0)
	failed := strings.Replace(ok, "200", "503", 1)
	client := strings.ReplaceAll(ok, "mutual_tls", Unknown)
	front := read(t, "front", at,
		line(FromSource, "front>back", client, 9), line(FromSource, "front>back-v2", client, 1),
		line(FromSource, "front>unknown", strings.ReplaceAll(client, "200", "0"), 2),
		line(FromSource, "front>legacy", client, 4))
	back := read(t, "back", at, line(FromDestination, "front>back", ok, 8), line(FromDestination, "front>back", failed, 1),
		line(FromDestination, "unknown>back", strings.ReplaceAll(ok, "mutual_tls", "none"), 3))
	two := read(t, "back-v2", at, line(FromDestination, "front>back-v2", ok, 1))
	all := []Delta{All(front), All(back), All(two)}
	pods := []Pod{front.Pod, back.Pod, two.Pod, {Namespace: "shop", Name: "legacy-y", Workload: "legacy", Ejected: 2}}

	rows := Rows(Workloads, pods, all)
	if r := find(t, rows, "back"); r.Requests != 12 || r.Failed != 1 || *r.MutualTLS != 0.75 || r.By != ByServer || r.RequestRate != nil {
		t.Errorf("back: %+v", r)
	}
	if r := find(t, rows, "legacy"); r.Requests != 4 || r.By != ByClients || *r.Ejected != 1 {
		t.Errorf("legacy: %+v", r)
	}
	if r := find(t, rows, "front"); r.Requests != 0 || r.SuccessRate != nil || r.MutualTLS != nil {
		t.Errorf("front is called by nobody: %+v", r)
	}
	if rows := Rows(Pods, pods, all); len(rows) != 3 || find(t, rows, "back-x").Requests != 12 {
		t.Errorf("pods: %+v", rows)
	}
	if r := find(t, Rows(Services, pods, all), "back"); r.Requests != 13 || r.Ejected != nil {
		t.Errorf("service back: %+v", r)
	}
	if r := find(t, Rows(Services, pods, all), Unknown); r.Requests != 2 || r.Failed != 2 || *r.SuccessRate != 0 {
		t.Errorf("what reached nobody: %+v", r)
	}
	for _, r := range Rows(Routes, pods, all) {
		if r.Name == "back" && r.To == "back" && (r.Requests != 12 || *r.Share != 12.0/13) {
			t.Errorf("route: %+v", r)
		}
	}
	edges := Edges(all)
	var got []string
	for _, e := range edges {
		got = append(got, fmt.Sprintf("%s>%s%s %v %s", e.From.Workload, e.To.Workload, strings.Repeat("!", int(e.Failed)), e.Requests, e.By))
	}
	if want := "front>back! 9 server,front>back-v2 1 server,front>legacy 4 clients,front>unknown!! 2 clients,unknown>back 3 server"; strings.Join(got, ",") != want {
		t.Errorf("edges %v, want %s", got, want)
	}
}

// An app may write lines of its own on its page: they are of nobody else.
func TestAppsSpeakForThemselves(t *testing.T) {
	s := read(t, "liar", time.Unix(0, 0), line(FromDestination, "front>back", ok, 5))
	if rows := Rows(Workloads, nil, []Delta{All(s)}); len(rows) != 1 || rows[0].Name != "liar" {
		t.Errorf("%+v", rows)
	}
	if edges := Edges([]Delta{All(s)}); len(edges) != 0 {
		t.Errorf("%+v", edges)
	}
}

// A gateway's row is what it asked of others.
func TestGatewayRow(t *testing.T) {
	s := read(t, "edge", time.Unix(0, 0), line(FromSource, "edge>front", ok, 5))
	s.Pod.Gateway = true
	for _, kind := range []Kind{Workloads, Pods} {
		if rows := Rows(kind, []Pod{s.Pod}, []Delta{All(s)}); rows[0].Requests != 5 || rows[0].By != ByGateway || rows[0].MutualTLS != nil {
			t.Errorf("%s: %+v", kind, rows)
		}
	}
}

// Whatever two pods count and whenever they start again, the increase is what
// was counted since, as long as a start can be seen.
func TestIncreasesOverRestarts(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		before, more, restarted := float64(1+rnd.IntN(1000)), float64(rnd.IntN(1000)), rnd.IntN(2) == 0
		now, want := before+more, more
		if restarted {
			now = before * rnd.Float64()
			want = now
		}
		at := time.Unix(1000, 0)
		d, sure := Between(read(t, "a", at, line(FromDestination, "b>a", ok, before)),
			read(t, "a", at.Add(4*time.Second), line(FromDestination, "b>a", ok, now)))
		r := Rows(Workloads, []Pod{d.Pod}, []Delta{d})
		if got := find(t, r, "a"); !sure || got.Requests != want || *got.RequestRate != want/4 {
			t.Fatalf("seed %d: from %v to %v is %v, want %v", seed, before, now, got.Requests, want)
		}
	}
	s := read(t, "a", time.Unix(5, 0))
	if _, sure := Between(s, s); sure {
		t.Error("in no time there is no rate")
	}
	part := s
	part.At, part.Partial = s.At.Add(time.Second), true
	if _, sure := Between(s, part); sure {
		t.Error("of a page in part there is no rate")
	}
}

func TestWhatFails(t *testing.T) {
	for want, flows := range map[bool][]Flow{
		true:  {{Code: "500"}, {Code: "503", Flags: "UF"}, {Code: "0", Flags: "UC"}, {Code: "200", GRPCStatus: "14"}},
		false: {{Code: "200"}, {Code: "404"}, {Code: "0", Flags: "DC"}, {Code: "200", GRPCStatus: "5"}, {Code: ""}, {Code: "other"}, {Code: "200", GRPCStatus: "0"}},
	} {
		for _, f := range flows {
			if f.Failed() != want {
				t.Errorf("%+v: failed is %v", f, !want)
			}
		}
	}
}

// A page may have anything in it: what an app writes takes nothing away.
func TestPagesThatAreOdd(t *testing.T) {
	good := line(FromDestination, "b>a", ok, 7)
	for name, page := range map[string]string{
		"types twice":    "# TYPE x counter\nx 1\n# TYPE x counter\n# TYPE istio_requests_total gauge\n" + good,
		"not a number":   good + line(FromDestination, "c>a", ok, "NaN") + line(FromDestination, "d>a", ok, "-3") + line(FromDestination, "e>a", ok, "+Inf"),
		"no such line":   good + "a b c d\n{{{\n\x00\xff\n# EOF\n",
		"another family": good + "istio_requests_total_of_mine 9\nistio_requests_totals{a=\"b\"} 9\n",
		"twice":          line(FromDestination, "b>a", ok, 3) + line(FromDestination, "b>a", ok, 4),
	} {
		if got := find(t, Rows(Workloads, nil, []Delta{All(read(t, "a", time.Time{}, page))}), "a").Requests; got != 7 {
			t.Errorf("%s: %v requests", name, got)
		}
	}
	for name, page := range map[string]string{"broken at the end": good + "istio_requests_total{a=\n", "a long line": good + strings.Repeat("x", maxLine+1)} {
		s, err := Read(strings.NewReader(page), Pod{Name: "a"}, time.Time{})
		if got := find(t, Rows(Workloads, nil, []Delta{All(s)}), "a").Requests; err == nil || got != 7 {
			t.Errorf("%s: %v requests, error %v", name, got, err)
		}
	}
}

// What is counted can be written as JSON, whatever apps write: values that no counter
// gets to would add up to infinity, which JSON cannot hold.
func TestFiguresThatAreNotFinite(t *testing.T) {
	page := func(n string) string {
		histogram := func(name string) string {
			return strings.NewReplacer(requestsTotal, name+"_sum").Replace(line(FromDestination, "b>a", ok, n)) +
				strings.NewReplacer(requestsTotal, name+"_count").Replace(line(FromDestination, "b>a", ok, n))
		}
		out := histogram(duration) + histogram(requestBytes) + histogram(responseBytes)
		for _, name := range []string{requestsTotal, tcpReceived, tcpSent, tcpOpened, tcpClosed} {
			for _, from := range []string{"b>a", "c>a"} {
				out += strings.Replace(line(FromDestination, from, ok, n), requestsTotal, name, 1)
			}
		}
		return out
	}
	before, after := read(t, "a", time.Unix(0, 0), page("1")), read(t, "a", time.Unix(1, 0), page("1.7e308"))
	second, _ := Between(before, after)
	for name, counted := range map[string][]Delta{"since the start": {All(after)}, "over a second": {second}} {
		for _, kind := range Kinds() {
			rows := Rows(kind, nil, counted)
			if _, err := json.Marshal(rows); err != nil {
				t.Errorf("%s %s: %v", kind, name, err)
			}
			for _, r := range rows {
				if r.Requests != 0 || r.Received != 0 || r.Sent != 0 || r.Connections != 0 {
					t.Errorf("%s %s: %+v", kind, name, r)
				}
			}
		}
		if _, err := json.Marshal(Edges(counted)); err != nil {
			t.Errorf("edges %s: %v", name, err)
		}
	}
	good := find(t, Rows(Workloads, nil, []Delta{All(read(t, "a", time.Time{}, line(FromDestination, "b>a", ok, maxCount)))}), "a")
	if good.Requests != maxCount {
		t.Errorf("%v requests of %v", good.Requests, float64(maxCount))
	}
}

func TestEjectionsOfAPage(t *testing.T) {
	s := read(t, "a", time.Time{}, "envoy_cluster_outlier_detection_ejections_active{cluster_name=\"a } 9\"} 2\n",
		"envoy_cluster_default_svc_cluster_local_outlier_detection_ejections_active{cluster_name=\"b\"} 1\n", "envoy_cluster_x_outlier_detection_ejections_active{} NaN\n")
	if s.Ejecting != 3 {
		t.Errorf("%d hosts", s.Ejecting)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"reviews-v1": "reviews-v1", "\x1b[2Jx": `\u001b[2Jx`, "a\nb\t": `a\u000ab\u0009`, "büch": "büch", "\u202egpj": `\u202egpj`,
		"\xff!": `\xff!`, strings.Repeat("x", 50): strings.Repeat("x", 20) + "…", "\uFFFD": "\uFFFD",
	} {
		if got := Printable(in, 20); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

// FuzzRead: no page makes it panic, and its figures are what they can be.
func FuzzRead(f *testing.F) {
	f.Add(line(FromDestination, "b>a", ok, 7) + "envoy_cluster_outlier_detection_ejections_active 1\n")
	f.Add(duration + `_bucket{le="5"} 3` + "\n" + duration + `_bucket{le="+Inf"} 2` + "\n" + duration + "_count 9\n")
	f.Fuzz(func(t *testing.T, page string) {
		s, _ := Read(strings.NewReader(page), Pod{Namespace: "n", Name: "p", Proxy: true}, time.Unix(1, 0))
		for _, kind := range Kinds() {
			for _, r := range Rows(kind, []Pod{s.Pod}, []Delta{All(s)}) {
				if r.Requests < 0 || r.Failed > r.Requests || r.SuccessRate != nil && (*r.SuccessRate < 0 || *r.SuccessRate > 1) || r.Latency != nil && r.Latency.P50 > r.Latency.P99 {
					t.Fatalf("%+v", r)
				}
			}
		}
		Edges([]Delta{All(s)})
		for _, r := range Printable(page, 100) {
			if r < ' ' || r == 0x7f {
				t.Fatalf("control %U", r)
			}
		}
	})
}

// FuzzSince: two pages of a pod, in whatever order and however far apart the clock has
// them, give figures that can be, and that JSON can say.
func FuzzSince(f *testing.F) {
	f.Add(line(FromDestination, "b>a", ok, 7), line(FromDestination, "b>a", ok, 9), int64(1000), false)
	f.Add(line(FromSource, "b>a", ok, 1e300), line(FromSource, "b>a", ok, -1), int64(-5), true)
	f.Add(duration+"_bucket{le=\"5\"} 3\n"+duration+"_count 9\n", duration+"_bucket{le=\"5\"} 1\n"+duration+"_sum NaN\n", int64(1<<62), false)
	f.Fuzz(func(t *testing.T, before, after string, milliseconds int64, partial bool) {
		at := time.Unix(1, 0)
		pod := Pod{Namespace: "n", Name: "p", Proxy: true}
		old, _ := Read(strings.NewReader(before), pod, at)
		now, _ := Read(strings.NewReader(after), pod, at.Add(time.Duration(milliseconds)*time.Millisecond))
		old.Partial = partial
		counted := Samples{"n/p": now}.Since(Samples{"n/p": old})
		if (partial || !now.At.After(at)) && len(counted) > 0 {
			t.Fatalf("figures of no time, or of half a page: %+v", counted)
		}
		for _, kind := range Kinds() {
			rows := Rows(kind, []Pod{pod}, counted)
			if _, err := json.Marshal(rows); err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				if r.Requests < 0 || r.Failed > r.Requests || r.RequestRate != nil && *r.RequestRate < 0 || r.Connections < 0 || r.Received < 0 || r.Sent < 0 {
					t.Fatalf("%+v", r)
				}
			}
		}
		if _, err := json.Marshal(Edges(counted)); err != nil {
			t.Fatal(err)
		}
	})
}
