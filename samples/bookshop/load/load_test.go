package load

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/samples/bookshop/shop"
)

func TestReportCountsWhoAnswered(t *testing.T) {
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch calls.Add(1) {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("no healthy upstream"))
		default:
			part := shop.Answer{Service: "reviews", Version: "v2", Pod: "r"}
			page := shop.Answer{Service: "frontend", Version: "v1", Pod: "f", Parts: []shop.Answer{part}}
			_ = json.NewEncoder(w).Encode(page)
		}
	}))
	defer server.Close()
	report := &Report{}
	if err := Run(t.Context(), Plan{URL: server.URL, Requests: 4, Workers: 1}, report.Add); err != nil {
		t.Fatal(err)
	}
	report.Finish()
	want := map[string]*Seen{
		"frontend": {map[string]int{"v1": 3}, map[string]int{"f": 3}},
		"reviews":  {map[string]int{"v2": 3}, map[string]int{"r": 3}},
	}
	if diff := cmp.Diff(want, report.Services); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"200": 3, "503": 1}, report.ByStatus); diff != "" {
		t.Error(diff)
	}
	if report.Total != 4 || report.Failed != 1 || len(report.Errors) != 1 ||
		!strings.Contains(report.Errors[0], "no healthy upstream") || report.P99 < report.P50 {
		t.Errorf("got %+v", report)
	}
}

func TestRequestWithoutAnAnswerIsAFailure(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	report := &Report{}
	if err := Run(t.Context(), Plan{URL: server.URL, Requests: 1}, report.Add); err != nil {
		t.Fatal(err)
	}
	if report.Failed != 1 || report.ByStatus["none"] != 1 || len(report.Errors) != 1 {
		t.Errorf("got %+v", report)
	}
	if err := Run(t.Context(), Plan{URL: "http://bad url/"}, report.Add); err == nil {
		t.Error("a URL that does not parse gave no error")
	}
}

func TestPaceSpacesRequestsEvenly(t *testing.T) {
	p := &pace{start: time.Now(), limit: 5, rps: 200}
	for range 5 {
		if !p.next(t.Context()) {
			t.Fatal("a turn is missing")
		}
	}
	if took := time.Since(p.start); took < 20*time.Millisecond {
		t.Errorf("5 requests at 200 a second were out after %v, want 20ms or more", took)
	}
	if p.next(t.Context()) {
		t.Error("there was a turn more than asked for")
	}
}

func TestLoadWithoutEndStopsWithItsContext(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
	defer server.Close()
	ctx, stop := context.WithCancel(t.Context())
	seen := 0
	err := Run(ctx, Plan{URL: server.URL, Workers: 2}, func(o Outcome) {
		if seen++; seen == 20 {
			stop()
		}
		if o.Failed() {
			t.Errorf("stopping the load counted as a failure: %+v", o)
		}
	})
	if err != nil || seen < 20 {
		t.Errorf("saw %d outcomes, error %v", seen, err)
	}
}

func TestGRPCLoadUsesOneConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := shop.Ratings(shop.Identity{Service: "ratings", Version: "v1", Pod: "ratings-1"}, &shop.Control{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	var lines bytes.Buffer
	observe := Lines(&lines, func() { t.Error("a line could not be written") })
	report, err := RunGRPC(t.Context(), GRPCPlan{Target: listener.Addr().String(), Calls: 50, Workers: 3, Observe: observe})
	if err != nil {
		t.Fatal(err)
	}
	var line Line
	if err := json.NewDecoder(&lines).Decode(&line); err != nil || line.Failed() || line.Status != "OK" || line.Answer.Pod != "ratings-1" {
		t.Errorf("the first line is %+v, %v", line, err)
	}
	if report.Total != 50 || report.Failed != 0 || report.Connections != 1 ||
		report.ByPod["ratings-1"] != 50 || report.ByCode["OK"] != 50 {
		t.Errorf("got %+v", report)
	}
}

func TestLineSaysWhy(t *testing.T) {
	for _, c := range []struct {
		of   Outcome
		want Line
	}{
		{Outcome{Status: 200, Took: time.Second}, Line{Status: "200", Took: 1000}},
		{Outcome{Err: io.ErrUnexpectedEOF}, Line{Status: "none", Error: "unexpected EOF"}},
		{Outcome{Status: 418}, Line{Status: "418", Error: "answered 418"}},
		{Outcome{Status: 503, Answer: shop.Answer{Error: "x"}}, Line{Status: "503", Error: "x", Answer: shop.Answer{Error: "x"}}},
	} {
		if diff := cmp.Diff(c.want, c.of.Line()); diff != "" || c.want.Failed() != c.of.Failed() {
			t.Errorf("%+v: %s", c.of, diff)
		}
	}
}

func TestGRPCLoadWithoutEndStopsWithItsContext(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := shop.Ratings(shop.Identity{Service: "ratings", Version: "v1", Pod: "ratings-1"}, &shop.Control{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	ctx, stop := context.WithCancel(t.Context())
	seen := 0
	report, err := RunGRPC(ctx, GRPCPlan{Target: listener.Addr().String(), Workers: 2, RPS: 500, Observe: func(Line) {
		if seen++; seen == 20 {
			stop()
		}
	}})
	if err != nil || report.Total < 20 || report.Failed != 0 {
		t.Errorf("got %+v, %v", report, err)
	}
}

func TestPercentilesAreOfTheNearestRank(t *testing.T) {
	took := make([]time.Duration, 0, 100)
	for i := 100; i >= 1; i-- {
		took = append(took, time.Duration(i)*time.Millisecond)
	}
	for _, c := range []struct {
		took     []time.Duration
		p50, p99 float64
	}{{nil, 0, 0}, {took[:1], 100, 100}, {took, 50, 99}} {
		if p50, p99 := percentiles(c.took); p50 != c.p50 || p99 != c.p99 {
			t.Errorf("of %d values: got %v, %v, want %v, %v", len(c.took), p50, p99, c.p50, c.p99)
		}
	}
}
