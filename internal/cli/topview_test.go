package cli

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/internal/local/controller"
)

// watched is a top that has looked at some pods twice, of which each has been
// asked as often in a second as its number says.
func watched(t *testing.T, pods int) *top {
	t.Helper()
	out := newTop(&choice{kind: figures.Pods, sort: "rps", window: 10 * time.Second})
	for second := range 2 {
		pages, all := map[string]string{}, []controller.PodStatus{}
		for i := range pods {
			name := fmt.Sprintf("pod-%d", i)
			all = append(all, controller.PodStatus{Namespace: "n", Name: name, Synced: "yes", Sidecar: true})
			pages[name] = fmt.Sprintf("istio_requests_total{reporter=\"destination\",response_code=\"200\"} %d\n", i*second) + hostile
		}
		l, err := mesh(pages, all...).look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l.at = time.Unix(int64(1000+second), 0)
		for name, s := range l.samples {
			s.At = l.at
			l.samples[name] = s
		}
		out.add(l)
	}
	return out
}

var control = regexp.MustCompile(`\x1b\[[0-9]*[HJKm]`)

// A frame fits into any terminal, and nothing in it is a control but ours.
func TestFramesFit(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	keys := []string{"s", "S", "r", tab, "/", "p", enter, escape, keyUp, keyDown, pageUp, pageDown, backspace, "\x1b[31m", "x"}
	view := watched(t, 40)
	for range 500 {
		view.width, view.height = rnd.IntN(200), rnd.IntN(60)
		if err := view.key([]byte(keys[rnd.IntN(len(keys))])); err != nil {
			t.Fatal(err)
		}
		frame := control.ReplaceAllString(view.frame(), "")
		lines := strings.Split(frame, "\r\n")
		if len(lines) > max(view.height, 1) {
			t.Fatalf("%d lines in a height of %d", len(lines), view.height)
		}
		for _, line := range lines {
			if utf8.RuneCountInString(line) > view.width || strings.ContainsAny(line, "\x1b\r\n\u202e") {
				t.Fatalf("width %d: %q", view.width, line)
			}
		}
	}
}

// rowsOf are the names in a frame.
func rowsOf(view *top) string {
	return strings.Join(regexp.MustCompile(`pod-\d+`).FindAllString(view.frame(), -1), " ")
}

func TestKeys(t *testing.T) {
	view := watched(t, 4)
	view.width = 200
	for _, step := range []struct{ key, rows, says string }{
		{"", "pod-3 pod-2 pod-1 pod-0", "4 pods, last 1s, by rps"},
		{"r", "pod-0 pod-1 pod-2 pod-3", "the other way round"},
		{"/", "pod-0 pod-1 pod-2 pod-3", "filter: _"},
		{"q", "", "filter: q_"},
		{backspace, "pod-0 pod-1 pod-2 pod-3", "filter: _"},
		{"2", "pod-2", "filter: 2_"},
		{enter, "pod-2", "1 pod,"},
		{escape, "pod-0 pod-1 pod-2 pod-3", "/ filter"},
		{"s", "pod-3 pod-2 pod-1 pod-0", "by p50"},
		{"S", "pod-0 pod-1 pod-2 pod-3", "by rps"},
		{tab, "", "by rps"},
	} {
		if step.key != "" {
			if err := view.key([]byte(step.key)); err != nil {
				t.Fatal(err)
			}
		}
		if got := rowsOf(view); got != step.rows || !strings.Contains(view.frame(), step.says) {
			t.Errorf("after %q: rows %q, want %q; %q in\n%s", step.key, got, step.rows, step.says, view.frame())
		}
	}
	if view.choice.kind != figures.Services {
		t.Errorf("Tab leads to %s", view.choice.kind)
	}
	if err := view.key([]byte("q")); !errors.Is(err, io.EOF) {
		t.Errorf("q: %v", err)
	}
	if err := view.key([]byte(ctrlC)); !errors.Is(err, interrupted) {
		t.Errorf("Ctrl-C: %v", err)
	}
	view.height = headLines + 2
	for key, rows := range map[string]string{keyUp: "pod-0 pod-1", pageDown: "pod-2 pod-3"} {
		view.choice.kind, view.from = figures.Pods, 0
		if err := errors.Join(view.key([]byte(key)), view.key([]byte(key))); err != nil || rowsOf(view) != rows {
			t.Errorf("%q: %q, want %q, %v", key, rowsOf(view), rows, err)
		}
	}
}

// Looks older than the window are forgotten, save the one that begins it; a mesh
// that is away is said, and what was seen stays.
func TestHistory(t *testing.T) {
	view := watched(t, 2)
	first := view.history[1]
	for i := range 100 {
		l := first
		l.at = first.at.Add(time.Duration(i) * time.Second)
		view.add(l)
	}
	if n, spans := len(view.history), view.history[len(view.history)-1].at.Sub(view.history[0].at); n != 11 || spans != view.choice.window {
		t.Errorf("%d looks over %v", n, spans)
	}
	view.width, view.failed = 200, errors.New("no\x1b[2J mesh")
	if frame := view.frame(); !strings.Contains(frame, `NOT NOW: no\u001b[2J mesh`) || !strings.Contains(frame, "pod-1") {
		t.Errorf("away: %s", frame)
	}
}

// A proxy's figures begin with the first look that it answered whole.
func TestSinceTheFirstWholeLook(t *testing.T) {
	at := func(second int64, requests float64, partial bool) look {
		s := figures.Sample{At: time.Unix(second, 0), Partial: partial, Flows: map[figures.Flow]figures.Counts{{Code: "200"}: {Requests: requests}}}
		return look{samples: map[string]figures.Sample{"n/a": s}}
	}
	now := at(4, 10, false)
	got := now.since(look{}, at(1, 1, true), at(2, 3, false), at(3, 6, false), now)
	if len(got) != 1 || got[0].Seconds != 2 || got[0].Flows[figures.Flow{Code: "200"}].Requests != 7 {
		t.Errorf("%+v", got)
	}
	if got := now.since(look{}, now); len(got) != 0 {
		t.Errorf("of no time: %+v", got)
	}
}
