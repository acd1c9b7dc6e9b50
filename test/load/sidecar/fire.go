package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// serverPort is where the server pods listen.
const serverPort = 8080

// bodySize is of an answer, in bytes.
const bodySize = 1024

// serve answers every request at once with bodySize bytes.
func serve(ctx context.Context) error {
	body := make([]byte, bodySize)
	server := &http.Server{Addr: fmt.Sprintf(":%d", serverPort), ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// volley is an open loop: requests are sent at even distances, whatever became
// of those before, so that a slow answer cannot hide the wait behind it.
type volley struct {
	url    string
	rate   float64 // requests a second
	length time.Duration
}

// warmUp is how many requests come first and are not reported: they open the
// connections.
const warmUp = 60

// outcome is what a volley prints: microseconds of each request that counts,
// and how many were sent in all.
type outcome struct {
	Micros []int64
	Sent   int
}

func (v volley) print(ctx context.Context) error {
	out, err := v.send(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

func (v volley) send(ctx context.Context) (outcome, error) {
	count := warmUp + int(v.rate*v.length.Seconds())
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	took := make([]time.Duration, count)
	errs := make([]error, count)
	start := time.Now()
	var all sync.WaitGroup
	for i := range count {
		due := start.Add(time.Duration(float64(i) / v.rate * float64(time.Second)))
		if err := rest(ctx, time.Until(due)); err != nil {
			return outcome{}, err
		}
		all.Go(func() {
			sent := time.Now()
			errs[i] = v.one(ctx, client)
			took[i] = time.Since(sent)
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return outcome{}, fmt.Errorf("%s: a request failed: %w", v.url, err)
	}
	out := outcome{Sent: count}
	for _, d := range took[warmUp:] {
		out.Micros = append(out.Micros, d.Microseconds())
	}
	return out, nil
}

func (v volley) one(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || n != bodySize) {
		err = fmt.Errorf("%s with %d bytes", resp.Status, n)
	}
	return err
}

// rest waits for d, or until ctx ends.
func rest(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
