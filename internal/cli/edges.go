package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/figures"
)

func (a *app) edges() *cobra.Command {
	var w choice
	c := &cobra.Command{
		Use: "edges [NAME]", GroupID: "look", Short: "Show who calls whom, with which identities, and whether by mutual TLS",
		Long: "Show who calls whom, with which identities, and whether by mutual TLS, as the proxies have counted since\n" +
			"their start. The server's proxy says so, which knows whose certificate it took; where it has none, and\n" +
			"of calls that did not arrive, the client's. NAME is a workload at either end, or how its name begins.\n\n" + whichMesh,
		Example: "  weft edges\n  weft edges reviews --window 30s\n  weft edges -n shop -o json",
		Args:    exactly(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if w.window < 0 {
				return usageError{fmt.Errorf("--window %v: it may not be negative", w.window)}
			}
			w.name = strings.Join(args, "")
			l, counted, err := a.counted(cmd.Context(), &w)
			if err != nil {
				return err
			}
			return a.printEdges(&w, l, figures.Edges(counted))
		},
	}
	w.kube.flags(c, "")
	c.Flags().StringVarP(&w.namespace, "namespace", "n", "", "`NAMESPACE` of one end; default: all")
	w.windowFlags(c, 0)
	a.outputFlag(c, "json")
	return c
}

func (a *app) printEdges(w *choice, l look, edges []figures.Edge) error {
	chosen := func(n figures.Node) bool {
		return (w.namespace == "" || n.Namespace == w.namespace) && strings.HasPrefix(n.Workload, w.name)
	}
	edges = slices.DeleteFunc(edges, func(e figures.Edge) bool { return !chosen(e.From) && !chosen(e.To) })
	if a.output == "json" {
		return a.json(struct {
			Seconds float64        `json:"windowSeconds"`
			From    string         `json:"from,omitempty"`
			Edges   []figures.Edge `json:"edges"`
			Missing []string       `json:"unanswered,omitempty"`
		}{w.window.Seconds(), l.from, edges, l.missing})
	}
	rows := [][]string{{"FROM", "TO", "MTLS", "REQUESTS", "SUCCESS", "TCP", "FROM IDENTITY", "TO IDENTITY", "COUNTED BY"}}
	for _, e := range edges {
		rows = append(rows, []string{
			nodeText(e.From), nodeText(e.To), percent(e.MutualTLS), fmt.Sprintf("%.0f", e.Requests), percent(e.SuccessRate),
			fmt.Sprintf("%.0f", e.Connections), identityText(e.From), identityText(e.To), e.By,
		})
	}
	if err := a.safeTable(rows); err != nil {
		return err
	}
	a.unanswered(l)
	return nil
}

// nodeText is NAMESPACE/WORKLOAD, or what was called where no workload is known.
func nodeText(n figures.Node) string {
	if n.Workload == figures.Unknown {
		return cmp.Or(n.Service, figures.Unknown)
	}
	return n.Namespace + "/" + n.Workload
}

// identityText is a SPIFFE identity without its scheme.
func identityText(n figures.Node) string {
	if n.Identity == figures.Unknown {
		return "none"
	}
	return strings.TrimPrefix(n.Identity, "spiffe://")
}
