package pod

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

func TestLogTail(t *testing.T) {
	l := newLog(0)
	fmt.Fprint(l, "one\ntwo\nthr")
	fmt.Fprint(l, "ee\n")
	for n, want := range map[int]string{-1: "one\ntwo\nthree\n", 0: "", 1: "three\n", 2: "two\nthree\n", 3: "one\ntwo\nthree\n", 9: "one\ntwo\nthree\n"} {
		if got := string(l.Tail(Part{Lines: n})); got != want {
			t.Errorf("Tail(%d) = %q, want %q", n, got, want)
		}
	}
	fmt.Fprint(l, "four")
	if got := string(l.Tail(Part{Lines: 2})); got != "three\nfour" {
		t.Errorf("with an unfinished line: %q", got)
	}
}

// TestLogRing: the memory is bounded, and what is kept begins with a whole line.
func TestLogRing(t *testing.T) {
	l := newLog(100)
	for i := range 1000 {
		fmt.Fprintf(l, "line %d\n", i)
	}
	kept := string(l.Tail(Part{Lines: -1}))
	if len(kept) > 100 || !strings.HasPrefix(kept, "line 9") || !strings.HasSuffix(kept, "line 999\n") {
		t.Errorf("kept %q", kept)
	}
	fmt.Fprint(l, strings.Repeat("x", 300))
	if kept := l.Tail(Part{Lines: -1}); len(kept) != 100 {
		t.Errorf("after a line beyond the limit: %d bytes", len(kept))
	}
}

// What was written since a time is given by whole lines; what is known of times is
// bounded.
func TestLogSince(t *testing.T) {
	l, began := newLog(100_000), time.Unix(1000, 0)
	at := func(seconds int, text string) {
		l.now = func() time.Time { return began.Add(time.Duration(seconds) * time.Second) }
		fmt.Fprint(l, text)
	}
	want := func(part Part, want string) {
		t.Helper()
		if got := string(l.Tail(part)); got != want {
			t.Errorf("%+v: %.80q, want %q", part, got, want)
		}
	}
	since := func(seconds int) Part { return Part{Lines: -1, Since: began.Add(time.Duration(seconds) * time.Second)} }
	at(0, "zero\nbeg")
	at(10, "un\nten\n")
	at(20, "twenty\n")
	want(since(-5), "zero\nbegun\nten\ntwenty\n")
	want(since(1), "begun\nten\ntwenty\n")
	want(since(11), "twenty\n")
	want(since(21), "")
	want(Part{Lines: 1, Since: began}, "twenty\n")
	want(Part{Lines: 9, Since: began.Add(11 * time.Second)}, "twenty\n")
	for i := range 40_000 {
		at(100+i, "line\n")
	}
	want(since(100+39_999), "line\n")
	if len(l.marks) > maxMarks || l.marks[0].at > l.first {
		t.Errorf("%d marks, the oldest of %d; kept from %d", len(l.marks), l.marks[0].at, l.first)
	}
	if got := strings.Count(string(l.Tail(since(100+30_000))), "line"); got < 10_000 || got > 10_010 {
		t.Errorf("%d lines since 10,000 were written", got)
	}
}

func TestLogFollow(t *testing.T) {
	l := newLog(0)
	fmt.Fprint(l, "before\nlast\n")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	filled := make(chan struct{})
	go func() { l.fill(r); close(filled) }()
	from := l.Follow(context.Background(), Part{Lines: 1})
	buf := make([]byte, 5)
	if _, err := io.ReadFull(from, buf); err != nil || string(buf) != "last\n" {
		t.Fatalf("%q, %v", buf, err)
	}
	fmt.Fprint(w, "after")
	if _, err := io.ReadFull(from, buf); err != nil || string(buf) != "after" {
		t.Fatalf("%q, %v", buf, err)
	}
	w.Close()
	<-filled
	if n, err := from.Read(buf); n != 0 || err != io.EOF {
		t.Errorf("after the pod's end: %d, %v; want io.EOF", n, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	quiet := newLog(0).Follow(ctx, Part{Lines: -1})
	cancel()
	if n, err := quiet.Read(buf); n != 0 || err != io.EOF {
		t.Errorf("after ctx: %d, %v; want io.EOF", n, err)
	}
}

func TestMergeEnv(t *testing.T) {
	got := mergeEnv([]string{"A=1", "B=2", "C=3"}, []string{"B=20", "D=4"})
	if want := "[A=1 C=3 B=20 D=4]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestSpecCheck(t *testing.T) {
	good := func() Spec {
		return Spec{Name: "p", Namespace: "n", Processes: []Process{{Name: "a", Argv: []string{"x"}}}}
	}
	if err := good().check(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Spec){
		"name and namespace":   func(s *Spec) { s.Name = "" },
		"hostname":             func(s *Spec) { s.Hostname = strings.Repeat("x", 65) },
		"processes[1].name":    func(s *Spec) { s.Processes = append(s.Processes, s.Processes[0]) },
		"argv is empty":        func(s *Spec) { s.Processes[0].Argv = nil },
		"Always, OnFailure or": func(s *Spec) { s.Processes[0].Restart.Policy = "Sometimes" },
	} {
		s := good()
		change(&s)
		if err := s.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
