package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// What a terminal is told: docs/decisions/028.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // a screen of its own, without a cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
)

func (a *app) top() *cobra.Command {
	var w choice
	var once bool
	var interval time.Duration
	c := &cobra.Command{
		Use: "top [" + kindNames("|") + "] [NAME]", GroupID: "look", Short: "Watch success, rate, latency and mutual TLS, as they are now",
		Long: "Watch success, rate, latency, bytes and mutual TLS of workloads, pods, services or routes. NAME is one, or\n" +
			"how its name begins. Keys: Tab next kind, s and S next column to sort by, r other way round, / filter,\n" +
			"arrows scroll, q quit. Where the output is no terminal, one table. " + whoCounts + "\n\n" + whichMesh,
		Example: "  weft top\n  weft top pods reviews --sort p99\n  weft top routes --once -o json",
		Args:    exactly(cobra.MaximumNArgs(2)), ValidArgsFunction: kindsOfFigures,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.read(args); err != nil {
				return err
			}
			if interval < minInterval || w.window == 0 {
				return usageError{fmt.Errorf("--interval %v, --window %v: watching takes at least %v, and a time to look back", interval, w.window, minInterval)}
			}
			if screen := int(os.Stdout.Fd()); a.output == "" && !once && term.IsTerminal(screen) {
				return a.watch(cmd.Context(), newTop(&w), interval)
			}
			return a.figures(cmd.Context(), &w)
		},
	}
	w.flags(a, c, "rps", 10*time.Second)
	c.Flags().DurationVar(&interval, "interval", 2*time.Second, "`TIME` between two looks")
	c.Flags().BoolVar(&once, "once", false, "print one table, after --window")
	return c
}

// minInterval keeps a mesh from being asked without end.
const minInterval = 500 * time.Millisecond

// seenNow is what a look gave.
type seenNow struct {
	look look
	err  error
}

// watch draws until it is told to end. The terminal is left as it was found.
func (a *app) watch(ctx context.Context, t *top, interval time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from, first, err := a.source(ctx, t.choice)
	if err != nil {
		return err
	}
	if first.counted != nil { // it knows nothing new sooner
		interval = max(interval, recordedEvery)
	}
	t.add(first)
	keys := make(chan []byte)
	if in := int(os.Stdin.Fd()); term.IsTerminal(in) {
		old, err := term.MakeRaw(in)
		if err != nil {
			return err
		}
		defer func() { _ = term.Restore(in, old) }() // there is nothing else to do
		go readKeys(ctx, os.Stdin, keys)
	}
	fmt.Fprint(a.out, enterScreen)
	defer fmt.Fprint(a.out, leaveScreen)
	looks := make(chan seenNow)
	go from.lookAgain(ctx, interval, looks)
	size := time.NewTicker(200 * time.Millisecond) // as every system can tell it
	defer size.Stop()
	for draw := true; ; {
		if width, height, err := term.GetSize(int(os.Stdout.Fd())); err == nil && (width != t.width || height != t.height) {
			t.width, t.height, draw = width, height, true
		}
		if draw {
			fmt.Fprint(a.out, t.frame())
		}
		draw = true
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-size.C:
			draw = false
		case now := <-looks:
			if t.failed = now.err; now.err == nil {
				t.add(now.look)
			}
		case key := <-keys:
			if err := t.key(key); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
}

// lookAgain looks and looks. A mesh that is away is asked for until it is back.
func (from looker) lookAgain(ctx context.Context, interval time.Duration, out chan<- seenNow) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l, err := from(ctx)
		select {
		case <-ctx.Done():
			return
		case out <- seenNow{l, err}:
		}
	}
}

// readKeys gives what is typed; a read gives a key whole, which may be several
// bytes.
func readKeys(ctx context.Context, from io.Reader, to chan<- []byte) {
	for {
		key := make([]byte, 64)
		n, err := from.Read(key)
		if err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case to <- key[:n]:
		}
	}
}
