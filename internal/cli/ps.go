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
	a.outputFlag(c, "json")
	return c
}

func (a *app) printPods(st controller.Status) error {
	rows := [][]string{{"NAMESPACE", "NAME", "READY", "STATUS", "SYNCED", "RESTARTS", "AGE", "IP", "EJECTED"}}
	var notes []string
	for _, p := range st.Pods {
		rows = append(rows, []string{
			p.Namespace, p.Name, fmt.Sprintf("%d/%d", p.ReadyContainers, p.Containers), p.Phase, dash(p.Synced),
			fmt.Sprint(p.Restarts), age(p.Age), p.IP, dash(ejected(p.Ejected)),
		})
		if p.Reason != "" {
			notes = append(notes, fmt.Sprintf("%s/%s: %s", p.Namespace, p.Name, p.Reason))
		}
	}
	if err := a.table(rows); err != nil {
		return err
	}
	for key, why := range st.Problems {
		notes = append(notes, fmt.Sprintf("Deployment %s: %s", key, why))
	}
	for _, d := range st.Findings {
		notes = append(notes, d.String())
	}
	for _, n := range notes {
		fmt.Fprintln(a.out, n)
	}
	return nil
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
	}
	return fmt.Sprintf("%dh", int(d.Hours()))
}
