// Command demo starts the bookshop sample as a local mesh and shows the mesh's
// main job on real traffic: `make demo`.
//
// Input: the binaries in bin/ and the sample's YAML, of which it edits a copy.
// Output: progress lines, then a table of what was expected and what was seen.
// It exits 0 only if all of it held, and takes the mesh down in any case. It may
// import the sample's clients and the test folders' packages, and nothing of
// the mesh: it sees what a user sees.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// options are the flags.
type options struct {
	weft     string
	sample   string
	requests int
	only     string
}

func main() {
	var o options
	flag.StringVar(&o.weft, "weft", "bin/weft", "the weft command; bookshop is beside it")
	flag.StringVar(&o.sample, "sample", "samples/bookshop", "the folder to start a copy of")
	flag.IntVar(&o.requests, "requests", 1000, "requests, and gRPC calls, of a count")
	flag.StringVar(&o.only, "only", "", "comma-separated steps to run: "+strings.Join(names(steps), ", ")+"; empty is all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}
