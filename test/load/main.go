// Command load measures how fast and at what cost the pilot binary brings
// changes to many proxies.
//
// It writes a folder of N services with M endpoints each, VirtualServices on a
// tenth of them, starts the pilot on it, and connects P delta-ADS clients that
// subscribe as a sidecar's Envoy does. Then it changes one EndpointSlice, or
// one VirtualService, at a time, and waits until every client holds the
// change. It prints one row of docs/performance.md, or JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"time"
)

// options of a run.
type options struct {
	pilot     string
	services  int
	endpoints int
	proxies   int
	// apps is of how many services the proxies are; 0: of none.
	apps    int
	changes int
	timeout time.Duration
	pause   time.Duration
	asJSON  bool
	// monitoring is where the pilot's debug pages are, for a profile by hand.
	monitoring string
}

func main() {
	var o options
	flag.StringVar(&o.pilot, "pilot", "bin/pilot", "pilot binary")
	flag.IntVar(&o.services, "services", 500, "services")
	flag.IntVar(&o.endpoints, "endpoints", 4, "endpoints of each service")
	flag.IntVar(&o.proxies, "proxies", 100, "delta-ADS clients")
	flag.IntVar(&o.apps, "apps", 0, "services that the clients are pods of, in turn; 0: of none")
	flag.IntVar(&o.changes, "changes", 20, "changes of each kind")
	flag.DurationVar(&o.timeout, "timeout", 2*time.Minute, "limit of each step")
	flag.DurationVar(&o.pause, "pause", 300*time.Millisecond, "between two changes")
	flag.StringVar(&o.monitoring, "monitoring", "", "IP:PORT of the pilot's monitoring port, for a profile by hand; empty: any")
	flag.BoolVar(&o.asJSON, "json", false, "print JSON")
	flag.Parse()
	log.SetFlags(0)
	r, err := run(context.Background(), o)
	if err != nil {
		log.Fatal(err)
	}
	if o.asJSON {
		text, _ := json.Marshal(r)
		fmt.Println(string(text))
		return
	}
	fmt.Print(r.table())
}

// results are the figures of a run; times in the unit of the name.
type results struct {
	Services, Endpoints, Proxies int
	SyncSeconds, SyncCPUSeconds  float64
	SyncMB, RSSMB, AnonMB        float64
	Endpoint, Weight             kind
	RSSEndMB, AnonEndMB          float64
}

// kind are the figures of one kind of change.
type kind struct {
	P50, P99, LastP50 float64 // ms until a proxy, and until the last proxy, holds it
	CPU               float64 // ms of the pilot for one change
	KB                float64 // sent for one change, to all proxies
}

func (r results) table() string {
	const row = "| %s | %s |\n"
	out := fmt.Sprintf(row, "", fmt.Sprintf("%d services x %d endpoints, %d proxies", r.Services, r.Endpoints, r.Proxies)) + "|---|---|\n"
	out += fmt.Sprintf(row, "all proxies in sync from nothing", fmt.Sprintf("%.2f s, %.2f CPU-s, %.1f MB sent", r.SyncSeconds, r.SyncCPUSeconds, r.SyncMB))
	out += fmt.Sprintf(row, "memory after it (anonymous)", fmt.Sprintf("%.0f MB RSS (%.0f MB)", r.RSSMB, r.AnonMB))
	out += fmt.Sprintf(row, "one endpoint added", r.Endpoint.String())
	out += fmt.Sprintf(row, "one VirtualService weight changed", r.Weight.String())
	return out + fmt.Sprintf(row, "memory at the end (anonymous)", fmt.Sprintf("%.0f MB RSS (%.0f MB)", r.RSSEndMB, r.AnonEndMB))
}

// String gives "P50 / P99 ms, CPU-ms, kB".
func (k kind) String() string {
	return fmt.Sprintf("%.1f / %.1f ms, %.1f CPU-ms, %.0f kB sent", k.P50, k.P99, k.CPU, k.KB)
}

func run(ctx context.Context, o options) (r results, err error) {
	dir, err := os.MkdirTemp("", "weft-load-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	m := mesh{dir: dir, options: o}
	if err := m.write(); err != nil {
		return r, err
	}
	p, err := startPilot(ctx, o, dir)
	if err != nil {
		return r, err
	}
	defer p.stop()
	r = results{Services: o.services, Endpoints: o.endpoints, Proxies: o.proxies}
	before := p.usage()
	start := time.Now()
	all, err := connectAll(ctx, o, p.address)
	if err != nil {
		return r, err
	}
	r.SyncSeconds = time.Since(start).Seconds()
	after := p.usage()
	r.SyncCPUSeconds, r.SyncMB = after.cpu-before.cpu, float64(all.bytes.Load())/1e6
	r.RSSMB, r.AnonMB = after.rss, after.anon
	rest(ctx, 3*time.Second)
	if r.Endpoint, err = all.measure(ctx, o, p, m.addEndpoint); err != nil {
		return r, err
	}
	if r.Weight, err = all.measure(ctx, o, p, m.changeWeight); err != nil {
		return r, err
	}
	end := p.usage()
	r.RSSEndMB, r.AnonEndMB = end.rss, end.anon
	return r, nil
}

// rest lets the pilot come to rest between two measurements.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
