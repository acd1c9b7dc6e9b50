// Command sidecar measures what a sidecar costs: the latency that a pair of
// them adds with mTLS and metrics, their CPU time a request, memory, and time
// to start.
//
// Input: the weft binary. It starts a mesh of a client and a server with
// sidecars, the same two without, and two whose sidecars do not count, sends
// load to all of these in turns, and reads /proc of the processes; then it
// starts the bookshop. Output: rows of docs/performance.md. Load stays within
// the pods' private networks. It may import of the repository only the packages
// of test/.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"
	"time"
)

// options of a run.
type options struct {
	weft, bookshop string
	rate           float64
	slice          time.Duration
	slices         int
	services       int // in sight, beside those of the measurement

	// In a pod the same binary is the server or the client.
	role string
	fire volley
}

func main() {
	log.SetFlags(0)
	var o options
	flag.StringVar(&o.weft, "weft", "bin/weft", "weft binary, with the others beside it")
	flag.StringVar(&o.bookshop, "bookshop", "samples/bookshop", "folder of the mesh whose start is timed; empty: none")
	flag.Float64Var(&o.rate, "rate", 300, "requests a second")
	flag.DurationVar(&o.slice, "slice", 3*time.Second, "length of one turn")
	flag.IntVar(&o.slices, "slices", 15, "turns of each kind; 0 sends no load")
	flag.IntVar(&o.services, "services", 0, "more services that each sidecar sees, of two hosts each")
	flag.StringVar(&o.role, "role", "", "serve or fire: what the pods run")
	flag.StringVar(&o.fire.url, "url", "", "with -role fire: what to ask for")
	flag.Parse()
	o.fire.rate, o.fire.length = o.rate, o.slice
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, o options) error {
	switch o.role {
	case "serve":
		return serve(ctx)
	case "fire":
		return o.fire.print(ctx)
	}
	fmt.Printf("%d CPUs, load average %s before\n\n", runtime.NumCPU(), loadAverage())
	pair, err := measurePair(ctx, o)
	if err != nil {
		return err
	}
	fmt.Print(pair.table())
	if o.bookshop == "" {
		return nil
	}
	start, err := measureStart(ctx, o)
	if err != nil {
		return err
	}
	fmt.Print(start.table())
	return nil
}
