// Command app is what the tests of life cycle and outages run in pods and on
// the LAN: clients that ask without pause and remember what came of each
// request, servers, and watchers of one moment. Input: a subcommand and its
// arguments; output: JSON or lines on the standard output. It imports package
// steady and the standard library, and knows of the mesh no more than an app
// does.
package main

import (
	"errors"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("want serve, leave, load, ask, withdrawn or refused")
	}
	switch rest := args[1:]; {
	case args[0] == "serve" && len(rest) == 0:
		return serve()
	case args[0] == "leave" && len(rest) == 1:
		return leave(rest[0])
	case args[0] == "load" && len(rest) == 2:
		return load(rest[0], rest[1])
	case args[0] == "ask" && len(rest) == 1:
		return ask(rest[0])
	case args[0] == "withdrawn" && len(rest) == 1:
		return withdrawn(rest[0])
	case args[0] == "refused" && len(rest) == 1:
		return refused(rest[0])
	}
	return fmt.Errorf("%q: want serve, leave LEDGER, load LISTEN TARGETS, ask URL, withdrawn IP:PORT or refused URL", args)
}
