package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/weftmesh/weft/internal/figures"
)

// choice is which figures a command shows.
type choice struct {
	kube      kube
	kind      figures.Kind
	name      string // of the rows, or how it begins; "": all
	namespace string // "": all
	sort      string
	window    time.Duration
	given     func() bool // the window is the person's word
	recorder  string      // of --prometheus
}

func (w *choice) flags(a *app, c *cobra.Command, sorted string, window time.Duration) {
	w.kube.flags(c, "")
	f := c.Flags()
	f.StringVarP(&w.namespace, "namespace", "n", "", "`NAMESPACE` of the rows; default: all")
	f.StringVar(&w.sort, "sort", sorted, "`COLUMN` by which to sort: "+strings.Join(columnNames(), ", "))
	w.windowFlags(c, window)
	_ = c.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(columnNames(), cobra.ShellCompDirectiveNoFileComp)) // fails only where there is no such flag
	a.outputFlag(c, "json")
}

// read takes the arguments [KIND] [NAME].
func (w *choice) read(args []string) error {
	w.kind = figures.Workloads
	if len(args) > 0 {
		at := slices.IndexFunc(figures.Kinds(), func(k figures.Kind) bool {
			return strings.TrimSuffix(string(k), "s") == strings.TrimSuffix(args[0], "s")
		})
		if at < 0 {
			return usageError{fmt.Errorf("%s: figures are of %s", args[0], kindNames(", "))}
		}
		w.kind = figures.Kinds()[at]
	}
	if len(args) > 1 {
		w.name = args[1]
	}
	if !slices.Contains(columnNames(), w.sort) {
		return usageError{fmt.Errorf("--sort %s: it is one of %s", w.sort, strings.Join(columnNames(), ", "))}
	}
	if w.window < 0 {
		return usageError{fmt.Errorf("--window %v: it may not be negative", w.window)}
	}
	return nil
}

func kindNames(between string) string {
	var out []string
	for _, k := range figures.Kinds() {
		out = append(out, string(k))
	}
	return strings.Join(out, between)
}

// rows are those that were chosen, in their order.
func (w *choice) rows(l look, counted []figures.Delta) []figures.Row {
	rows := slices.DeleteFunc(figures.Rows(w.kind, l.pods, counted), func(r figures.Row) bool {
		return w.namespace != "" && r.Namespace != w.namespace || !strings.HasPrefix(r.Name, w.name)
	})
	return w.ordered(rows)
}

// ordered sorts rows: biggest first, what is not known last, and by name else.
func (w *choice) ordered(rows []figures.Row) []figures.Row {
	by := slices.IndexFunc(columns, func(c column) bool { return c.name == w.sort })
	if value := columns[by].value; value != nil {
		slices.SortStableFunc(rows, func(a, b figures.Row) int { return cmp.Compare(value(b), value(a)) })
	}
	return rows
}

// report is a table as JSON.
type report struct {
	Kind    figures.Kind  `json:"kind"`
	Seconds float64       `json:"windowSeconds"`  // 0: since the proxies' start
	From    string        `json:"from,omitempty"` // the recorder whose word it is; "": the proxies'
	Rows    []figures.Row `json:"rows"`
	Missing []string      `json:"unanswered,omitempty"`
}

func (a *app) stat() *cobra.Command {
	var w choice
	c := &cobra.Command{
		Use: "stat [" + kindNames("|") + "] [NAME]", GroupID: "look", Short: "Show success, rate, latency and mutual TLS of workloads, pods, services or routes",
		Long: "Show success, rate, latency, bytes and mutual TLS of workloads, pods, services or routes: how they are\n" +
			"counted is in docs/guides/find-a-slow-pod.md. NAME is one, or how its name begins. " + whoCounts + "\n\n" + whichMesh,
		Example: "  weft stat\n  weft stat pods reviews --sort p99\n  weft stat services --window 0 -o json",
		Args:    exactly(cobra.MaximumNArgs(2)), ValidArgsFunction: kindsOfFigures,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.read(args); err != nil {
				return err
			}
			return a.figures(cmd.Context(), &w)
		},
	}
	w.flags(a, c, "name", 5*time.Second)
	return c
}

func kindsOfFigures(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return strings.Split(kindNames(","), ","), cobra.ShellCompDirectiveNoFileComp
}

// counted is what the proxies of the chosen mesh count, by a recorder's word or
// their own: these are asked twice where a time is given.
func (a *app) counted(ctx context.Context, w *choice) (look, []figures.Delta, error) {
	from, before, err := a.source(ctx, w)
	if err != nil {
		return look{}, nil, err
	}
	return a.count(ctx, from, before, w.window)
}

func (a *app) count(ctx context.Context, from looker, before look, window time.Duration) (look, []figures.Delta, error) {
	person := term.IsTerminal(int(os.Stderr.Fd()))
	switch {
	case before.counted != nil:
		if person {
			fmt.Fprintf(a.err, "the last %v, by %s; --window 10s asks the proxies\n", window, before.from)
		}
		return before, before.counted, nil
	case window == 0:
		return before, before.samples.All(), nil
	case person:
		fmt.Fprintf(a.err, "counting for %v; --window 0 shows all since the proxies' start\n", window)
	}
	select {
	case <-ctx.Done():
		return look{}, nil, ctx.Err()
	case <-time.After(window):
	}
	now, err := from(ctx)
	for name := range now.samples {
		if old, there := before.samples[name]; !there || old.Partial {
			now.missing = append(now.missing, name+": it was not there, or did not answer, when the time began")
		}
	}
	slices.Sort(now.missing)
	return now, now.since(before), err
}

// figures prints the rows that were chosen, and on the error output what is
// missing in them.
func (a *app) figures(ctx context.Context, w *choice) error {
	l, counted, err := a.counted(ctx, w)
	if err != nil {
		return err
	}
	rows := w.rows(l, counted)
	if a.output == "json" {
		return a.json(report{Kind: w.kind, Seconds: w.window.Seconds(), From: l.from, Rows: rows, Missing: l.missing})
	}
	if err := a.table(figureRows(w, rows)); err != nil {
		return err
	}
	if len(rows) == 0 {
		fmt.Fprintf(a.err, "no such %s\n", strings.TrimSuffix(string(w.kind), "s"))
	}
	a.unanswered(l)
	return nil
}
