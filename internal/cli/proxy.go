package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) proxyStatus() *cobra.Command {
	var k kube
	c := &cobra.Command{
		Use: "proxy-status", GroupID: "look", Aliases: []string{"ps-proxy"}, Short: "Show for each proxy whether it holds what the pilot sent",
		Long: "Show for each proxy whether it holds what the pilot sent.\n\n" + whichMesh,
		Args: exactly(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := a.syncPages(cmd.Context(), &k)
			if err != nil {
				return err
			}
			if a.output == "json" {
				_, err := a.out.Write(text)
				return err
			}
			return a.printSync(text)
		},
	}
	k.flags(c, "")
	a.outputFlag(c, "json")
	return c
}

func (a *app) printSync(text []byte) error {
	var proxies []map[string]any
	if err := json.Unmarshal(text, &proxies); err != nil {
		return fmt.Errorf("the pilot's answer: %w", err)
	}
	rows := [][]string{{"PROXY", "CDS", "LDS", "EDS", "RDS"}}
	for _, p := range proxies {
		row := []string{fmt.Sprint(p["proxy"])}
		for _, kind := range []string{"cluster", "listener", "endpoint", "route"} {
			row = append(row, verdict(p[kind+"_sent"], p[kind+"_acked"]))
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows[1:], slices.Compare)
	return a.table(rows)
}

func verdict(sent, acked any) string {
	switch {
	case sent == nil || sent == "":
		return "NOT SENT"
	case sent == acked:
		return "SYNCED"
	}
	return "STALE"
}

// configKinds are what `weft proxy-config` shows, and where it stands in
// Envoy's dump.
var configKinds = []string{"listeners", "routes", "clusters", "endpoints", "secrets", "bootstrap"}

func (a *app) proxyConfig() *cobra.Command {
	var namespace string
	var k kube
	c := &cobra.Command{
		Use: "proxy-config {" + strings.Join(configKinds, "|") + "} POD", ValidArgsFunction: a.kindThenPod, GroupID: "look", Aliases: []string{"pc"},
		Short:   "Show the configuration that a pod's Envoy holds",
		Long:    "Show the configuration that a pod's Envoy holds. POD is a pod, the beginning of one's name, or a\nDeployment.\n\n" + whichMesh,
		Example: "  weft proxy-config routes frontend\n  weft proxy-config endpoints frontend -o json",
		Args:    exactly(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			show, err := configView(args[0])
			if err != nil {
				return usageError{err}
			}
			text, pod, err := a.envoyPage(cmd.Context(), &k, args[1], namespace, show.path)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.rawJSON(text)
			}
			rows, err := show.rows(text)
			if err != nil {
				return fmt.Errorf("configuration of %s: %w", pod, err)
			}
			return a.table(rows)
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "`NAMESPACE` of the pod; default: any")
	k.flags(c, "")
	a.outputFlag(c, "json")
	return c
}

func (a *app) rawJSON(text []byte) error {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	return a.json(v)
}
