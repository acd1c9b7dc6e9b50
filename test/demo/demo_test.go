package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/samples/bookshop/load"
	"github.com/weftmesh/weft/samples/bookshop/shop"
)

// answered is an outcome sent at a time and answered by a pod of reviews.
func answered(at time.Time, version, pod string) load.Outcome {
	part := shop.Answer{Service: "reviews", Version: version, Pod: pod}
	return load.Outcome{Start: at, Status: 200, Answer: shop.Answer{Service: "frontend", Parts: []shop.Answer{part}}}
}

func TestLiveAfterIsMeasuredFromTheEdit(t *testing.T) {
	start := time.Now()
	edited := start.Add(time.Second)
	var outcomes []load.Outcome
	for i := range 300 {
		version := "v1"
		if i >= 120 && i%2 == 0 { // from 1.2 s on every other one
			version = "v2"
		}
		outcomes = append(outcomes, answered(start.Add(time.Duration(i)*10*time.Millisecond), version, "p"))
	}
	got, found := liveAfter(outcomes, edited)
	if !found || got != 200*time.Millisecond {
		t.Errorf("got %v, %v, want 200ms", got, found)
	}
	if _, found := liveAfter(outcomes[:120], edited); found {
		t.Error("found a change where there is none")
	}
	if got := countV2(outcomes[sentFrom(outcomes, edited):]); got != 90 {
		t.Errorf("got %d answers of v2 after the edit, want 90", got)
	}
}

func TestNoFailureNeedsRequests(t *testing.T) {
	good, bad := answered(time.Now(), "v1", "p"), load.Outcome{Status: 503}
	for _, c := range []struct {
		outcomes []load.Outcome
		want     bool
	}{{nil, false}, {[]load.Outcome{good}, true}, {[]load.Outcome{good, bad}, false}} {
		if got := noFailure("x", c.outcomes); got.ok != c.want {
			t.Errorf("%d outcomes: got %+v", len(c.outcomes), got)
		}
	}
}

func TestRowGRPCWantsOneConnectionAndAnEvenSpread(t *testing.T) {
	even := map[string]int{"a": 333, "b": 334, "c": 333}
	for _, c := range []struct {
		name   string
		report load.GRPCReport
		want   bool
	}{
		{"even", load.GRPCReport{ByPod: even, Connections: 1}, true},
		{"two connections", load.GRPCReport{ByPod: even, Connections: 2}, false},
		{"a failure", load.GRPCReport{ByPod: even, Connections: 1, Failed: 1}, false},
		{"one pod", load.GRPCReport{ByPod: map[string]int{"a": 1000}, Connections: 1}, false},
		{"uneven", load.GRPCReport{ByPod: map[string]int{"a": 200, "b": 400, "c": 400}, Connections: 1}, false},
	} {
		d := &demo{requests: 1000}
		d.rowGRPC("ratings", c.report)
		if d.allHeld() != c.want {
			t.Errorf("%s: got %+v", c.name, d.rows)
		}
	}
}

func TestCopyFindsTheBinariesAndEditsLeaveTheSampleAlone(t *testing.T) {
	sample := filepath.Join("..", "..", "samples", "bookshop")
	bin := t.TempDir()
	dir, remove, err := copySample(sample, bin)
	if err != nil {
		t.Fatal(err)
	}
	if same, err := filepath.EvalSymlinks(filepath.Join(dir, "..", "..", "bin")); err != nil || same != bin {
		t.Errorf("../../bin is %s (%v), want %s", same, err, bin)
	}
	file := filepath.Join(dir, "reviews-route.yaml")
	if err := edit(file, [2]string{"weight: 90", "weight: 50"}, [2]string{"weight: 10", "weight: 50"}); err != nil {
		t.Error(err)
	}
	got, err := os.ReadFile(file)
	if err != nil || strings.Count(string(got), "weight: 50") != 2 {
		t.Errorf("the copy was not edited (%v):\n%s", err, got)
	}
	if err := edit(file, [2]string{"weight: 50", "weight: 60"}); err == nil {
		t.Error("an edit with two places gave no error")
	}
	original, err := os.ReadFile(filepath.Join(sample, "reviews-route.yaml"))
	if err != nil || strings.Contains(string(original), "weight: 50") {
		t.Errorf("the sample itself was edited (%v)", err)
	}
	remove()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Error("the copy is still there")
	}
	if _, _, err := copySample(t.TempDir(), bin); err == nil {
		t.Error("a folder without YAML gave no error")
	}
}

func TestTableFitsOneScreen(t *testing.T) {
	d := &demo{began: time.Now()}
	d.rows = []row{{what: strings.Repeat("a", 41), expected: strings.Repeat("b", 24), seen: strings.Repeat("long ", 40), ok: true}, {what: "c", seen: "one\ntwo"}}
	if d.allHeld() {
		t.Error("a row that did not hold was taken for one that did")
	}
	var out bytes.Buffer
	d.print(&out)
	for line := range strings.Lines(out.String()) {
		if len([]rune(strings.TrimSuffix(line, "\n"))) > columns {
			t.Errorf("too long: %q", line)
		}
	}
	if !strings.Contains(out.String(), "1 of 2 held") {
		t.Errorf("no verdict in:\n%s", out.String())
	}
}
