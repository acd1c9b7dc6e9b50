package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/install"
)

func (a *app) check() *cobra.Command {
	var k kube
	var pre, only bool
	c := &cobra.Command{
		Use: "check", GroupID: "cluster", Short: "Say whether a cluster can take Weft (--pre), or whether Weft is well in it",
		Long: "Check the installed Weft: components, webhooks, CRDs, gateways and their addresses, and whether\n" +
			"every proxy is connected and holds what it was sent. With --pre, check instead whether the\n" +
			"cluster can take it: version, rights, what is there already.\n" +
			"Exit code 1 if something fails; a warning does not.",
		Args: exactly(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runCheck(cmd.Context(), &k, pre, only) },
	}
	k.flags(c, "n")
	c.Flags().BoolVar(&pre, "pre", false, "before an install: check the cluster alone")
	c.Flags().BoolVar(&only, "namespaced", false, "with --pre, for an install of the namespace of -n alone")
	a.outputFlag(c, "json", "yaml")
	return c
}

func (a *app) runCheck(ctx context.Context, k *kube, pre, only bool) error {
	cluster, err := k.installed(ctx)
	if err != nil {
		return err
	}
	if only {
		cluster = cluster.Within(k.namespace)
	}
	var found []install.Finding
	if pre {
		found, err = cluster.CheckBefore(ctx, k.namespace)
	} else {
		found, err = cluster.Check(ctx, k.namespace, a.version)
		if err == nil {
			found = append(found, k.checkProxies(ctx)...)
		}
	}
	if err != nil {
		return err
	}
	return a.printChecks(found)
}

// marks tell the outcomes apart without colour.
var marks = map[install.Outcome]string{install.OK: "ok  ", install.Warning: "warn", install.Failed: "FAIL"}

func (a *app) printChecks(found []install.Finding) error {
	failed := 0
	for _, f := range found {
		if f.Outcome == install.Failed {
			failed++
		}
	}
	switch a.output {
	case "json":
		if err := a.json(found); err != nil {
			return err
		}
	case "yaml":
		if err := a.yaml(found); err != nil {
			return err
		}
	default:
		for _, f := range found {
			fmt.Fprintf(a.out, "%s  %s: %s\n", marks[f.Outcome], f.Subject, f.Text)
			if f.Cure != "" {
				fmt.Fprintf(a.out, "      %s\n", f.Cure)
			}
		}
	}
	if failed > 0 {
		return exitCode(1)
	}
	return nil
}
