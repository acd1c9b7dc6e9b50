// Command agent runs a pod's proxy: it lives beside Envoy in every pod.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/weftmesh/weft/internal/agent/command"
)

// version is set at build time with -ldflags "-X main.version=...".
var version = "dev"

func main() {
	// There is one agent in every pod, and it is mostly idle: memory is worth
	// more than the CPU that collecting twice as often costs.
	debug.SetGCPercent(50)
	// The table of the allocation profile, which nobody reads, is 1.4 MB.
	runtime.MemProfileRate = 0
	if err := command.New(version).ExecuteContext(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}
