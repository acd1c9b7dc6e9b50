package local

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"github.com/weftmesh/weft/internal/local/pod"
)

// The hidden arguments: alone on the command line, they make this binary one of
// the inner processes.
const (
	meshArg        = "weft-local-meshd"
	probeArg       = "weft-local-probe"
	probeNestedArg = "weft-local-probe-nested"
)

// Reexec must be the first statement of main (and of a TestMain): in a process
// that the local mesh started it does that process's work and does not return.
// In any other it returns at once.
func Reexec(c Controllers) {
	if len(os.Args) != 2 {
		return
	}
	switch os.Args[1] {
	case pod.InitArg:
		pod.Main()
	case meshArg:
		if err := meshMain(c); err != nil {
			fmt.Fprintf(os.Stderr, "weft meshd: %v\n", err)
			os.Exit(1)
		}
	case probeArg:
		probeMain()
	case probeNestedArg: // that it was started is all
	default:
		return
	}
	os.Exit(0)
}

// forker starts processes from one thread that lives as long as this process:
// a child with a parent-death signal dies with the thread that made it.
type forker chan func()

func newForker() forker {
	f := make(forker)
	go func() {
		runtime.LockOSThread()
		for start := range f {
			start()
		}
	}()
	return f
}

// start starts cmd.
func (f forker) start(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	f <- func() { result <- cmd.Start() }
	return <-result
}
