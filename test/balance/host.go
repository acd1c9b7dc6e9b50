package main

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// appPort is where the app of a host listens, for its own proxy.
const appPort = 9000

// manner is how a host behaves.
type manner int

const (
	well   manner = iota
	slow          // takes ten times as long
	stalls        // takes 2 s
	fails         // answers 503, or UNAVAILABLE, at once
)

// workers is how many requests a host serves at once; more wait.
const workers = 8

// usual is the mean time a host takes for a request: half of it is fixed, half
// at random (exponential).
const usual = 5 * time.Millisecond

// host is an app. Its requests are counted.
type host struct {
	index  int
	manner atomic.Int32
	seen   atomic.Int64
	free   chan struct{}
	server *http.Server
}

func startHost(index int, address string) (*host, error) {
	h := &host{index: index, free: make(chan struct{}, workers)}
	l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(appPort)))
	if err != nil {
		return nil, err
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	h.server = &http.Server{Handler: h, Protocols: &protocols, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = h.server.Serve(l) }()
	return h, nil
}

func (h *host) is(m manner) { h.manner.Store(int32(m)) }

// ServeHTTP answers HTTP, and gRPC with one empty message.
func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.seen.Add(1)
	grpc := strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
	w.Header().Set("X-Host", strconv.Itoa(h.index))
	if manner(h.manner.Load()) == fails {
		if grpc {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "14")
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	h.work(r.Context())
	if !grpc {
		_, _ = w.Write([]byte("well\n"))
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	_, _ = w.Write(make([]byte, 5)) // an empty message
}

// work takes the time of one request.
func (h *host) work(ctx context.Context) {
	took := usual/2 + time.Duration(rand.ExpFloat64()*float64(usual/2))
	switch manner(h.manner.Load()) {
	case slow:
		took *= 10
	case stalls:
		rest(ctx, 2*time.Second)
		return
	case well, fails:
	}
	select {
	case h.free <- struct{}{}:
	case <-ctx.Done():
		return
	}
	rest(ctx, took)
	<-h.free
}

// rest waits for d, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
