package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/dashboard"
	"github.com/weftmesh/weft/internal/tap"
)

// tap tells of the requests of a mesh until the page goes, and of the workload
// details that it cannot.
func (s *server) tap(ctx context.Context, of dashboard.Tapped, to io.Writer) error {
	if of.Name == "details" {
		return errors.New("its agent is of a version without tap\u202e")
	}
	for i := range 300 {
		e := tap.Entry{
			Event: tap.Request, From: tap.Peer{Workload: "frontend"}, To: tap.Peer{Pod: of.Name + "-1"}, Protocol: "HTTP/1.1", Method: "GET",
			Authority: "reviews", Path: fmt.Sprintf("%s/<img src=x onerror=alert(1)>?n=%d", of.Filter.Path, i), Status: 200, Millis: 1.5, Flags: "-",
		}
		if i == 299 {
			e.Status, e.Denied, e.Dropped = 403, "shop/nobody", 7
		}
		text, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if _, err := to.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	s.tapped.Add(1)
	<-ctx.Done()
	s.tapped.Add(-1)
	return nil
}

// TestTap: requests come while somebody watches, as text, and no longer.
func TestTap(t *testing.T) {
	s := serve(t, bookshop(), "")
	tb := open(t, s, desk, "/workload/default/reviews-v1")
	tb.has("Live requests", "Nothing is watched")
	eval[bool](tb, `(() => { const i = document.querySelector(".tap input"); i.value = "/api"; i.dispatchEvent(new Event("input", {bubbles: true})); return true })()`)
	click := `(document.querySelector(".tap button").click(), true)`
	eval[bool](tb, click)
	tb.has("GET reviews/api/<img src=x onerror=alert(1)>?n=299", "denied by shop/nobody", "7 left out", "reviews-v1-1")
	if rows := eval[int](tb, `document.querySelectorAll("[aria-label='Live requests'] tbody tr").length`); rows != 200 {
		t.Errorf("%d rows are kept", rows)
	}
	if s.tapped.Load() != 1 {
		t.Error("nobody is said to watch")
	}
	eval[bool](tb, click)
	tb.eventually("nobody watches", func() bool { return s.tapped.Load() == 0 })
	eval[bool](tb, click)
	tb.eventually("somebody watches again", func() bool { return s.tapped.Load() == 1 })
	tb.goTo("/workload/default/details")
	tb.eventually("who leaves the page watches no more", func() bool { return s.tapped.Load() == 0 })
	eval[bool](tb, click)
	tb.has(`without tap\u202e`)
	tb.clean()
}

// eventually waits until something of the server holds.
func (tb *tab) eventually(what string, holds func() bool) {
	tb.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(end) {
			tb.t.Fatal("it never came that " + what)
		}
	}
}
