package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// ledger is what a server has been told: how often each word was said.
type ledger struct {
	mu   sync.Mutex
	said map[string]int
}

// serve answers every request with the pod's name, on port 8080. At SIGTERM it
// dies at once, with all connections that it has, as most programs do that do
// not think of it.
func serve() error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	l := &ledger{said: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) })
	mux.HandleFunc("POST /said/{word}", func(_ http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.said[r.PathValue("word")]++
	})
	mux.HandleFunc("GET /said", func(w http.ResponseWriter, _ *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		_ = json.NewEncoder(w).Encode(l.said)
	})
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: 5 * time.Second, Handler: mux}
	return server.ListenAndServe()
}

// How many calls an app that leaves makes, and how often.
const (
	leaving      = 30
	leavingEvery = 200 * time.Millisecond
)

// leave waits for SIGTERM and then calls the server at url time and again, on
// a new connection each time, as an app does that has to put its affairs in
// order. What failed is the last it says.
func leave(url string) error {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	failed := 0
	tick := time.NewTicker(leavingEvery)
	for range leaving {
		if _, err := send(c, url+"/said/leaving"); err != nil {
			failed++
			fmt.Println("while leaving:", err)
		}
		<-tick.C
	}
	_, err := send(c, fmt.Sprintf("%s/said/left-%d", url, failed))
	return err
}
