package dashboard

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
)

// Lines come at once, pages are bounded, and one that goes makes room.
func TestTapOfPages(t *testing.T) {
	o := away()
	o.Tap = func(ctx context.Context, of Tapped, to io.Writer) error {
		if of.Name == "none" {
			return errors.New("there is none")
		}
		if _, err := io.WriteString(to, of.Kind+" "+of.Namespace+" "+of.Name+" "+of.Filter.Path+"\n"); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	s := served(t, o)
	know := map[string]string{"Authorization": "Bearer secret"}
	if _, text, _ := asked(t, s, "GET", "/api/tap?name=none", know); text != `{"error":"there is none"}`+"\n" {
		t.Errorf("%q", text)
	}
	if code, text, _ := asked(t, s, "GET", "/api/tap?name=none&status=99", know); code != http.StatusBadRequest {
		t.Errorf("a status that is none: %d: %s", code, text)
	}
	if code, _, _ := asked(t, s, "GET", "/api/tap?name=a", nil); code != http.StatusUnauthorized {
		t.Errorf("a stranger: %d", code)
	}
	open := func() (int, context.CancelFunc) {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/api/tap?kind=pod&namespace=n&name=a&path=/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer secret")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		if line, err := bufio.NewReader(resp.Body).ReadString('\n'); resp.StatusCode == http.StatusOK && (err != nil || line != "pod n a /x\n") {
			t.Fatalf("%q, %v", line, err)
		}
		return resp.StatusCode, cancel
	}
	var last context.CancelFunc
	for range maxTaps {
		code, cancel := open()
		if last = cancel; code != http.StatusOK {
			t.Fatal(code)
		}
	}
	if code, cancel := open(); code != http.StatusTooManyRequests {
		t.Errorf("one more: %d", code)
	} else {
		cancel()
	}
	last()
	for { // the server hears of it in its own time
		code, cancel := open()
		defer cancel()
		if code == http.StatusOK {
			return
		}
	}
}
