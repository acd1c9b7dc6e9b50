package figures

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

func vector(series ...string) string {
	return `{"status":"success","data":{"resultType":"vector","result":[` + strings.Join(series, ",") + `]}}`
}

// one is a series of a part, of pod n/a, with more labels, KEY=VALUE.
func one(part int, value string, labels ...string) string {
	all := map[string]string{"weft_figure": fmt.Sprint(part), "namespace": "n", "pod": "a"}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		all[k] = v
	}
	text, _ := json.Marshal(map[string]any{"metric": all, "value": []any{1, value}})
	return string(text)
}

// What a Prometheus answers becomes what the pods counted; what no counter can be
// counts nothing.
func TestReadRecorded(t *testing.T) {
	got, err := ReadRecorded([]byte(vector(
		one(0, "3.5", "reporter=destination", "response_code=200"), one(0, "NaN"), one(0, "-1"), one(0, "x"), one(0, "1e300"),
		one(1, "0", "reporter=destination", "response_code=200", "le=5"), one(1, "2", "reporter=destination", "response_code=200", "le=10"),
		one(1, "3", "reporter=destination", "response_code=200", "le=+Inf"), one(1, "3", "reporter=destination", "response_code=200", "le=NaN"),
		one(2, "10", "reporter=destination", "response_code=200"), one(4, "5", "reporter=destination", "response_code=200"),
		one(3, "1", "reporter=destination", "response_code=200"), one(5, "2", "reporter=destination", "response_code=200"),
		one(6, "4", "reporter=source"), one(7, "3", "reporter=source"),
		one(8, "1"), one(8, "1", "pod=b"), one(9, "2", "destination_pod=n/c"), one(9, "1e300", "destination_pod=n/d"),
	)), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	pods := []Pod{{Namespace: "n", Name: "a", Proxy: true}, {Namespace: "n", Name: "b", Proxy: true}, {Namespace: "n", Name: "c", Proxy: true}, {Namespace: "n", Name: "d"}}
	deltas, missing := got.Deltas(pods)
	if len(deltas) != 2 || fmt.Sprint(missing) != "[n/c]" || got.Ejected["n/c"] != 2 || got.Ejected["n/d"] != 0 || deltas[0].Seconds != 60 || len(deltas[1].Flows) != 0 {
		t.Fatalf("%+v, %v, %v", deltas, missing, got.Ejected)
	}
	for f, c := range deltas[0].Flows {
		switch {
		case f.Reporter == FromDestination:
			const want = "{3.5 map[5:0 10:2 +Inf:1] 15 3 0 0}"
			if fmt.Sprint(c) != want || f.Code != "200" || f.Source.Workload != Unknown {
				t.Errorf("%+v, %v, want %s", f, c, want)
			}
		case f.Reporter == FromSource:
			if c.Opened != 4 || c.Closed != 3 {
				t.Errorf("%v", c)
			}
		case c.Requests != 0:
			t.Errorf("%+v: %v", f, c)
		}
	}
	if q := (Histogram{5: 0, 10: 2, math.Inf(1): 1}).Quantile(0.5); q < 5 {
		t.Errorf("the bucket begins at its lower bound: %v", q)
	}
	for text, want := range map[string]string{
		vector(one(10, "1")): "not asked for", vector(one(0, "1", "weft_figure=")): "not asked for", "<html>": "not one of Prometheus' API",
		`{"status":"success","data":{"resultType":"matrix"}}`: "not one to such a question", `{"status":"error","error":"no"}`: "status \"error\" no",
	} {
		if _, err := ReadRecorded([]byte(text), time.Minute); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func FuzzReadRecorded(f *testing.F) {
	f.Add([]byte(vector(one(0, "1"), one(1, "1", "le=5"), one(9, "1"))))
	f.Fuzz(func(t *testing.T, answer []byte) {
		read, err := ReadRecorded(answer, time.Minute)
		if err != nil {
			return
		}
		var pods []Pod
		for name := range read.Flows {
			ns, pod, _ := strings.Cut(name, "/")
			read.Scraped[name] = true
			pods = append(pods, Pod{Namespace: ns, Name: pod, Proxy: true})
		}
		deltas, _ := read.Deltas(pods)
		for _, kind := range Kinds() {
			if _, err := json.Marshal(Rows(kind, pods, deltas)); err != nil {
				t.Error(err)
			}
		}
		if _, err := json.Marshal(Edges(deltas)); err != nil {
			t.Error(err)
		}
	})
}
