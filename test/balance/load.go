package main

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// limit is when a request counts as failed, whatever came later.
const limit = time.Second

// turn is what came of one policy's requests in one turn.
type turn struct {
	took   []time.Duration // of those that succeeded
	failed int
	hosts  map[int]int // answers by host
}

// client sends requests to the client's proxy.
type client struct {
	http, grpc *http.Client
	address    string
}

func newClient(address string) *client {
	var h2 http.Protocols
	h2.SetUnencryptedHTTP2(true)
	return &client{
		address: address,
		http:    &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 256}},
		grpc:    &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{Protocols: &h2}},
	}
}

// send is an open loop with arrivals at random (Poisson): rate requests a
// second for length, whatever became of those before. The first part, warm, is
// sent but not counted.
func (c *client) send(ctx context.Context, service string, l load, warm time.Duration) turn {
	out := turn{hosts: map[int]int{}}
	var mu sync.Mutex
	var all sync.WaitGroup
	start := time.Now()
	for due := time.Duration(0); due < warm+l.length && ctx.Err() == nil; due += time.Duration(rand.ExpFloat64() / l.rate * float64(time.Second)) {
		if wait := time.Until(start.Add(due)); wait > 0 {
			rest(ctx, wait)
		}
		all.Go(func() {
			sent := time.Now()
			host, ok := c.one(ctx, service, l.grpc)
			took := time.Since(sent)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case due < warm:
			case !ok || took > limit:
				out.failed++
				out.hosts[host]++
			default:
				out.took = append(out.took, took)
				out.hosts[host]++
			}
		})
	}
	all.Wait()
	return out
}

// one request; host is -1 where none has answered.
func (c *client) one(ctx context.Context, service string, grpc bool) (host int, ok bool) {
	sender, port, body := c.http, httpPort, io.Reader(nil)
	method := http.MethodGet
	if grpc {
		sender, port, method, body = c.grpc, grpcPort, http.MethodPost, bytes.NewReader(make([]byte, 5))
	}
	url := "http://" + net.JoinHostPort(c.address, strconv.Itoa(15000+port)) + "/balance.App/Call"
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return -1, false
	}
	req.Host = service + ":" + strconv.Itoa(port)
	if grpc {
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("TE", "trailers")
	}
	resp, err := sender.Do(req)
	if err != nil {
		return -1, false
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	if host, _ = strconv.Atoi(resp.Header.Get("X-Host")); resp.Header.Get("X-Host") == "" {
		host = -1
	}
	ok = err == nil && resp.StatusCode == http.StatusOK
	if grpc {
		status := resp.Trailer.Get("Grpc-Status") + resp.Header.Get("Grpc-Status")
		ok = ok && status == "0"
	}
	return host, ok
}
