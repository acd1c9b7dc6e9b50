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
	var namespace string
	c := &cobra.Command{
		Use: "proxy-status", GroupID: "look", Aliases: []string{"ps-proxy"}, Short: "Show for each proxy whether it holds what the pilot sent",
		Long: "Show for each proxy whether it holds what the pilot sent.\n\n" + whichMesh,
		Args: exactly(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := a.syncPages(cmd.Context(), &k)
			if err != nil {
				return err
			}
			proxies, err := syncOf(text, namespace)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.json(proxies)
			}
			return a.printSync(proxies)
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "`NAMESPACE` of the proxies; default: all")
	k.flags(c, "")
	a.outputFlag(c, "json")
	return c
}

// syncOf are the proxies of a namespace, "" for all, of the pilots' answer.
func syncOf(text []byte, namespace string) ([]map[string]any, error) {
	proxies := []map[string]any{}
	if err := json.Unmarshal(text, &proxies); err != nil {
		return nil, fmt.Errorf("the pilot's answer: %w", err)
	}
	return slices.DeleteFunc(proxies, func(p map[string]any) bool {
		return namespace != "" && !strings.HasSuffix(fmt.Sprint(p["proxy"]), "."+namespace)
	}), nil
}

// printSync prints a line for each proxy; which pilot serves it only where there
// may be several.
func (a *app) printSync(proxies []map[string]any) error {
	rows := [][]string{{"PROXY", "CDS", "LDS", "EDS", "RDS"}}
	for _, p := range proxies {
		row := []string{fmt.Sprint(p["proxy"])}
		for _, kind := range []string{"cluster", "listener", "endpoint", "route"} {
			row = append(row, verdict(p[kind+"_sent"], p[kind+"_acked"]))
		}
		if pilot, served := p["pilot"]; served {
			row = append(row, fmt.Sprint(pilot))
		}
		rows = append(rows, row)
	}
	if len(proxies) > 0 && len(rows[1]) > len(rows[0]) {
		rows[0] = append(rows[0], "PILOT")
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
