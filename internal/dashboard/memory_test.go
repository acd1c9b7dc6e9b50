package dashboard

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/figures"
)

var start = time.Unix(1_800_000_000, 0)

// at is a look some seconds after the start, at a pod that was asked as often.
func at(seconds int, requests float64) Look {
	when := start.Add(time.Duration(seconds) * time.Second)
	pod := figures.Pod{Namespace: "n", Name: "p", Workload: "w", Proxy: true}
	flow := figures.Flow{Reporter: figures.FromDestination, Code: "200", Protocol: "http", Service: "s", ServiceNamespace: "n", Security: "mutual_tls",
		Source: figures.End{Workload: "c", Namespace: "n"}, Destination: figures.End{Workload: "w", Namespace: "n"}}
	return Look{At: when, Pods: []figures.Pod{pod}, Inventory: []Pod{{Namespace: "n", Name: "p"}},
		Samples: figures.Samples{"n/p": {Pod: pod, At: when, Flows: map[figures.Flow]figures.Counts{flow: {Requests: requests}}}}}
}

// A window is of its own time, however sparse old looks are.
func TestWindows(t *testing.T) {
	m := newMemory()
	for second := 0; second <= 4000; second += 2 {
		m.add(at(second, float64(second*second))) // ever faster: each window has another rate
	}
	if n := len(m.looks); n > 80 {
		t.Errorf("%d looks are kept", n)
	}
	for _, window := range []int{10, 60, 300, 900, 3600} {
		now := m.now(Mesh{}, time.Duration(window)*time.Second)
		if now.Seconds < float64(window) || now.Seconds > float64(window)*1.3 {
			t.Errorf("a window of %d s is %v s long", window, now.Seconds)
		}
		begin := 4000 - now.Seconds
		want := (4000*4000 - begin*begin) / now.Seconds
		if len(now.Workloads) != 1 || math.Abs(*now.Workloads[0].RequestRate-want) > 1e-6 {
			t.Errorf("window %d: %+v, want %v requests/s", window, now.Workloads, want)
		}
	}
	if got := m.now(Mesh{}, time.Second); got.Seconds != 2 {
		t.Errorf("the shortest window is %v s", got.Seconds)
	}
}

// However looks come, what is kept stays small and in order.
func TestThinning(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	m, second := newMemory(), 0
	for range 20000 {
		second += 1 + rnd.IntN(20)
		m.add(at(second, 1))
		for i := 1; i < len(m.looks); i++ {
			if !m.looks[i].At.After(m.looks[i-1].At) {
				t.Fatal("looks are out of order")
			}
		}
		if len(m.looks) > 100 {
			t.Fatalf("%d looks", len(m.looks))
		}
	}
	m.add(at(5, 1)) // a clock that went back
	if len(m.looks) != 1 || m.now(Mesh{}, time.Minute).Seconds != 0 {
		t.Errorf("%d looks after the clock went back", len(m.looks))
	}
}

// A large mesh has fewer looks, the first and the last among them.
func TestLooksAreBounded(t *testing.T) {
	var looks []Look
	for i := range 33 {
		looks = append(looks, at(i, 1)) // a flow each
	}
	for _, most := range []int{40, 17, 3, 2, 0} {
		got := bounded(looks, most)
		if len(got) > max(most, 2) || !got[0].At.Equal(looks[0].At) || !got[len(got)-1].At.Equal(looks[32].At) {
			t.Errorf("of %d flows at most: %d looks, %v to %v", most, len(got), got[0].At, got[len(got)-1].At)
		}
	}
}

// Charts have a point for each step of the last hour, and no more.
func TestPast(t *testing.T) {
	m := newMemory()
	for second := 0; second <= 7200; second += 2 {
		m.add(at(second, float64(second*3)))
	}
	points := m.points(rowName{figures.Workloads, "n", "w"})
	if len(points) < 355 || len(points) > 361 {
		t.Fatalf("%d points", len(points))
	}
	for i, p := range points {
		if p.Rate == nil || math.Abs(*p.Rate-3) > 1e-6 || *p.Success != 1 || p.P50 != nil {
			t.Fatalf("point %d: %+v", i, p)
		}
		if i > 0 && p.At.Sub(points[i-1].At) != step {
			t.Fatalf("a step of %v", p.At.Sub(points[i-1].At))
		}
	}
	if m.points(rowName{figures.Pods, "n", "p"}) == nil || len(m.points(rowName{figures.Pods, "n", "no"})) != 0 {
		t.Error("pods")
	}
	gone := at(7200+4000, 1)
	gone.Samples = figures.Samples{}
	gone.Pods = nil
	m.add(gone)
	if n := len(m.past.rows); n != 0 {
		t.Errorf("%d rows are remembered that nobody has seen for an hour", n)
	}
}

// Rows that a stranger can make by the thousand do not fill the memory.
func TestPastIsBounded(t *testing.T) {
	p := newPast()
	for i := range maxRows + 10 {
		p.put(rowName{figures.Pods, "n", fmt.Sprint(i)}, dot{at: start})
	}
	p.put(rowName{figures.Pods, "n", "1"}, dot{at: start.Add(step)})
	if len(p.rows) != maxRows || len(p.rows[rowName{figures.Pods, "n", "1"}]) != 2 {
		t.Errorf("%d rows", len(p.rows))
	}
}

// An ejection's time is that of the look that saw it first, until it is gone.
func TestSince(t *testing.T) {
	m := newMemory()
	ejected := func(second int, out bool) Now {
		l := at(second, 1)
		if out {
			l.Ejected = []Ejection{{Service: "s", Address: "a"}}
		}
		m.add(l)
		return m.now(Mesh{}, time.Minute)
	}
	ejected(0, true)
	if now := ejected(10, true); !now.Ejected[0].Since.Equal(start) {
		t.Errorf("since %v", now.Ejected[0].Since)
	}
	if now := ejected(20, false); len(now.Ejected) != 0 {
		t.Error("it is back")
	}
	if now := ejected(30, true); !now.Ejected[0].Since.Equal(start.Add(30 * time.Second)) {
		t.Errorf("since %v", now.Ejected[0].Since)
	}
	l := at(40, 1)
	l.Ejected = []Ejection{{Service: "s", Address: "a", By: []Ejector{{Since: start.Add(33 * time.Second)}, {}, {Since: start.Add(31 * time.Second)}}}}
	m.add(l)
	if now := m.now(Mesh{}, time.Minute); !now.Ejected[0].Since.Equal(start.Add(31 * time.Second)) {
		t.Errorf("since %v, agents know better", now.Ejected[0].Since)
	}
}

// No list is null, whatever there is to show.
func TestListsAreNeverNull(t *testing.T) {
	m := newMemory()
	for _, second := range []int{0, 2} {
		text, err := json.Marshal(m.now(Mesh{}, time.Minute))
		if err != nil || strings.Contains(string(text), `":null,"`) || strings.Contains(string(text), `[null`) {
			t.Errorf("%v: %s", err, text)
		}
		m.add(Look{At: start.Add(time.Duration(second) * time.Second), Samples: figures.Samples{}})
	}
}
