package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/test/e2e/steady"
)

// outcome is what came of one request.
type outcome struct {
	began time.Time
	took  time.Duration
	err   error
}

type target struct {
	steady.Target
	mu      sync.Mutex
	all     []outcome
	last    string
	running map[int]time.Time // when each client's request began
}

// load asks for all targets until it is killed, and tells at
// http://LISTEN/?from=TIME what came of it since.
func load(listen, config string) error {
	var list []steady.Target
	if err := json.Unmarshal([]byte(config), &list); err != nil {
		return fmt.Errorf("targets: %w", err)
	}
	var targets []*target
	for _, t := range list {
		if t.Timeout == 0 {
			t.Timeout = steady.Duration(30 * time.Second)
		}
		targets = append(targets, &target{Target: t, running: map[int]time.Time{}})
	}
	for _, t := range targets {
		for n := range t.Clients {
			// Clients begin one after another, so that their requests are spread.
			go t.client(n, time.Duration(t.Every)*time.Duration(n)/time.Duration(t.Clients))
		}
	}
	return http.ListenAndServe(listen, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var from time.Time
		if text := r.FormValue("from"); text != "" {
			if err := from.UnmarshalText([]byte(text)); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		out := map[string]steady.Report{}
		for _, t := range targets {
			out[t.Name] = t.report(from)
		}
		_ = json.NewEncoder(w).Encode(out)
	}))
}

// client is user n with its own connection.
func (t *target) client(n int, after time.Duration) {
	transport := &http.Transport{DisableKeepAlives: t.Connection == "new"}
	if t.Connection == "h2" {
		transport.Protocols = &http.Protocols{}
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	c := &http.Client{Transport: transport, Timeout: time.Duration(t.Timeout)}
	<-time.After(after)
	tick := time.NewTicker(time.Duration(t.Every))
	for range tick.C {
		began := time.Now()
		t.mu.Lock()
		t.running[n] = began
		t.mu.Unlock()
		text, err := send(c, t.URL)
		t.mu.Lock()
		delete(t.running, n)
		t.all = append(t.all, outcome{began, time.Since(began), err})
		if err == nil {
			t.last = text
		}
		t.mu.Unlock()
	}
}

// send posts: Go's client sends a GET again by itself when its connection
// breaks, and would hide what is looked for.
func send(c *http.Client, url string) (string, error) {
	response, err := c.Post(url, "text/plain", strings.NewReader("hello"))
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s: %.1500s", response.Status, text)
	}
	return string(text), err
}

// maxErrors bounds those of a report.
const maxErrors = 8

func (t *target) report(from time.Time) steady.Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := steady.Report{Last: t.last}
	for _, began := range t.running {
		if out.Waiting.IsZero() || began.Before(out.Waiting) {
			out.Waiting = began
		}
	}
	for _, o := range t.all {
		if o.began.Before(from) {
			continue
		}
		out.Total++
		out.Slowest = max(out.Slowest, o.took)
		if o.took > steady.Slow {
			out.LastSlow = o.began
		}
		if o.err == nil {
			continue
		}
		if out.Failed++; out.Failed == 1 {
			out.FirstFailed = o.began
		}
		out.LastFailed = o.began
		if len(out.Errors) < maxErrors {
			out.Errors = append(out.Errors, fmt.Sprintf("%s after %v: %v", o.began.Format("15:04:05.000"), o.took.Round(time.Millisecond), o.err))
		}
	}
	return out
}

// ask prints one answer.
func ask(url string) error {
	c := &http.Client{Timeout: 30 * time.Second}
	response, err := c.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	fmt.Println(string(text))
	if err == nil && response.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s", response.Status)
	}
	return err
}
