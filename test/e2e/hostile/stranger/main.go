// Command stranger is an attacker in a pod of the cluster, without a sidecar:
// it floods ports with silent connections, garbage, slow, large and deeply
// nested bodies, and asks the CA for other pods' identities. `stranger look`
// runs on a node instead, and says what its pods' processes hold and listen on.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("want idle, attack, send, csr or look")
	}
	var out any
	var err error
	switch args[0] {
	case "idle":
		<-ctx.Done()
		return nil
	case "attack":
		out, err = attack(ctx, args[1:])
	case "send":
		out, err = send(ctx, args[1:])
	case "csr":
		out, err = ask(ctx, args[1:])
	case "look":
		out, err = look("/proc")
	default:
		return fmt.Errorf("%q: want idle, attack, send, csr or look", args[0])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}
