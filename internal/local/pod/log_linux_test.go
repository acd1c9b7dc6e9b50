package pod

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

func TestLogTail(t *testing.T) {
	l := newLog(0)
	fmt.Fprint(l, "one\ntwo\nthr")
	fmt.Fprint(l, "ee\n")
	for n, want := range map[int]string{-1: "one\ntwo\nthree\n", 0: "", 1: "three\n", 2: "two\nthree\n", 3: "one\ntwo\nthree\n", 9: "one\ntwo\nthree\n"} {
		if got := string(l.Tail(n)); got != want {
			t.Errorf("Tail(%d) = %q, want %q", n, got, want)
		}
	}
	fmt.Fprint(l, "four")
	if got := string(l.Tail(2)); got != "three\nfour" {
		t.Errorf("with an unfinished line: %q", got)
	}
}

// TestLogRing: the memory is bounded, and what is kept begins with a whole line.
func TestLogRing(t *testing.T) {
	l := newLog(100)
	for i := range 1000 {
		fmt.Fprintf(l, "line %d\n", i)
	}
	kept := string(l.Tail(-1))
	if len(kept) > 100 || !strings.HasPrefix(kept, "line 9") || !strings.HasSuffix(kept, "line 999\n") {
		t.Errorf("kept %q", kept)
	}
	fmt.Fprint(l, strings.Repeat("x", 300))
	if kept := l.Tail(-1); len(kept) != 100 {
		t.Errorf("after a line beyond the limit: %d bytes", len(kept))
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
	from := l.Follow(context.Background(), 1)
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
	quiet := newLog(0).Follow(ctx, -1)
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
