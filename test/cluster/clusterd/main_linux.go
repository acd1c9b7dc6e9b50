// Command clusterd is what runs inside a test cluster: the keeper that holds
// its machines, each machine's first process, and the pause of a pod. Package
// test/cluster builds and starts it; nobody else needs to.
package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/weftmesh/weft/test/cluster/machine"
)

func main() {
	if filepath.Base(os.Args[0]) == "pause" {
		pause()
		return
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	err := run(os.Args[1:])
	if exit := (&exec.ExitError{}); errors.As(err, &exit) && os.Args[1] == "enter" {
		os.Exit(exit.ExitCode()) // the program has said what it had to say
	}
	if err != nil {
		slog.Error("clusterd", "args", os.Args[1:], "error", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "keep":
		return machine.Keep(args[1])
	case len(args) == 3 && args[0] == "enlist":
		return machine.Enlist(args[1], args[2])
	case len(args) == 3 && args[0] == "boot":
		return machine.Boot(args[1], args[2])
	case len(args) == 3 && args[0] == "serve":
		return machine.Serve(args[1], args[2])
	case len(args) >= 3 && args[0] == "enter":
		pid, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		return machine.Enter(pid, args[2:])
	case len(args) >= 2 && args[0] == "become":
		return machine.Become(args[1:])
	}
	return fmt.Errorf("usage: clusterd keep DIR | enlist|boot|serve DIR MACHINE | enter PID PROGRAM...; `make cluster-up` does it")
}

// pause holds the namespaces of a pod: it reaps, and ends when asked to.
func pause() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
