// Command balance measures load balancers side by side on real Envoys: a
// client behind its proxy, and hosts behind theirs with mesh mTLS, all with
// the configuration that the pilot gives them.
//
// Input: flags. Output: tables for docs/performance.md. Everything is on
// loopback addresses; of the configuration only addresses are changed. It may
// import of the repository the pilot's door and the packages of test/.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"time"
)

func main() {
	rates := flag.String("rates", "20,200,2000", "requests a second, one table for each")
	length := flag.Duration("length", 4*time.Second, "the part of a turn that counts")
	rounds := flag.Int("rounds", 5, "turns of each policy")
	only := flag.String("only", "", "scenarios whose name has this; empty: all")
	grpc := flag.Bool("grpc", false, "gRPC in place of HTTP/1.1")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Printf("%d CPUs, load average %s before\n", runtime.NumCPU(), loadAverage())
	for _, s := range scenarios {
		if !strings.Contains(s.name, *only) {
			continue
		}
		for text := range strings.SplitSeq(*rates, ",") {
			rate, err := strconv.ParseFloat(text, 64)
			if err != nil || rate <= 0 {
				log.Fatalf("-rates: %q is not a rate", text)
			}
			results, err := s.run(ctx, load{rate: rate, grpc: *grpc, length: *length}, *rounds, policies)
			if err != nil {
				log.Fatal(err)
			}
			fmt.Printf("\n%s, %s requests/s (load average %s)\n\n%s", s.name, text, loadAverage(), table(s.hosts-1, results))
		}
	}
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
