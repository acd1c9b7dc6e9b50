package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/local/controller"
)

func (a *app) ps() *cobra.Command {
	c := &cobra.Command{
		Use: "ps", GroupID: "local", Short: "Show the pods: ready, in sync, and the hosts that each has ejected",
		Args: exactly(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			mesh, err := a.connect()
			if err != nil {
				return err
			}
			st, err := status(cmd.Context(), mesh)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.json(st)
			}
			return a.printPods(st)
		},
	}
	a.outputFlag(c, "wide", "json")
	return c
}

func (a *app) printPods(st controller.Status) error {
	rows := [][]string{{"NAMESPACE", "NAME", "READY", "STATUS", "SYNCED", "RESTARTS", "AGE", "EJECTED"}}
	wide := a.output == "wide"
	if wide {
		rows[0] = append(rows[0], "IP")
	}
	for _, p := range st.Pods {
		row := []string{
			p.Namespace, p.Name, fmt.Sprintf("%d/%d", p.ReadyContainers, p.Containers), p.Phase, dash(p.Synced),
			fmt.Sprint(p.Restarts), age(p.Age), dash(ejected(p.Ejected)),
		}
		if wide {
			row = append(row, p.IP)
		}
		rows = append(rows, row)
	}
	if err := a.table(rows); err != nil {
		return err
	}
	if notes := append(reasons(st.Pods), troubleLines(st.Troubles)...); len(notes) > 0 {
		fmt.Fprintf(a.out, "\n%s\n", strings.Join(notes, "\n"))
	}
	return nil
}

// reasons say why pods are not ready: one line for all pods of a workload that
// have the same one, and where to look further.
func reasons(pods []controller.PodStatus) (out []string) {
	who := map[string][]string{} // by workload and reason
	var keys []string
	for _, p := range pods {
		if p.Reason == "" || p.Phase == "Terminating" {
			continue
		}
		line, _, _ := strings.Cut(strings.ReplaceAll(p.Reason, p.IP, "POD-IP"), "\n")
		key := p.Namespace + "/" + p.Workload + "\x00" + line
		if who[key] == nil {
			keys = append(keys, key)
		}
		who[key] = append(who[key], p.Name)
	}
	for _, key := range keys {
		workload, why, _ := strings.Cut(key, "\x00")
		first, more := who[key][0], ""
		if n := len(who[key]) - 1; n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		namespace, _, _ := strings.Cut(workload, "/")
		out = append(out, fmt.Sprintf("%s/%s%s: %s", namespace, first, more, why))
	}
	if len(out) > 0 {
		out = append(out, "see weft logs POD, and weft logs POD -c istio-proxy for the proxy")
	}
	return out
}

func ejected(hosts []controller.Ejected) string {
	seen := map[string]bool{}
	var names []string
	for _, h := range hosts {
		name := h.Pod
		if name == "" {
			name = h.Address
		}
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// age is short, as kubectl's.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
