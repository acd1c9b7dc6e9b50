package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/install"
)

type uninstallFlags struct {
	installFlags
	purge    bool
	revision string
}

func (a *app) uninstall() *cobra.Command {
	var f uninstallFlags
	c := &cobra.Command{
		Use: "uninstall", GroupID: "cluster", Short: "Remove Weft from a cluster",
		Long: "Remove what weft install made and what the mesh made while it ran: the roots in every\n" +
			"namespace, and the key of a root that Weft made itself. What others put into Weft's namespace\n" +
			"stays, such as a plugged-in CA. The CRDs stay, and with them all VirtualServices and the like,\n" +
			"unless --purge is given; that takes only CRDs that Weft made. Pods keep their sidecars until\n" +
			"they are restarted.",
		Args: exactly(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runUninstall(cmd.Context(), &f) },
	}
	f.flags(c, "n")
	f.apply(c)
	c.Flags().StringVar(&f.revision, "revision", "", "`NAME` of the one control plane to remove; default: all")
	c.Flags().BoolVar(&f.purge, "purge", false, "remove the CRDs as well, and so every object of Istio's API")
	return c
}

func (a *app) runUninstall(ctx context.Context, f *uninstallFlags) error {
	cluster, err := f.installed(ctx)
	if err != nil {
		return err
	}
	if err := helmRefuses(ctx, cluster, f.kube.namespace); err != nil {
		return err
	}
	plan, err := cluster.Plan(ctx, f.kube.namespace, f.revision, f.purge)
	if err != nil {
		return err
	}
	if plan.Empty() {
		fmt.Fprintf(a.out, "Weft is not installed in namespace %s: there is nothing to remove\n", plan.Namespace)
		return nil
	}
	if f.dryRun {
		a.printPlan(plan)
		return nil
	}
	if err := a.confirm(f.yes, removalQuestion(plan, f.name())); err != nil {
		return err
	}
	o := install.Options{Say: a.say}
	if f.wait {
		o.Wait = f.timeout
	}
	if err := cluster.Run(ctx, plan, o); err != nil {
		return err
	}
	for _, note := range plan.Notes {
		fmt.Fprintln(a.out, note)
	}
	fmt.Fprintln(a.out, "Weft is uninstalled")
	return a.leftSidecars(ctx, cluster, plan)
}

// helmRefuses leaves Helm's releases to Helm.
func helmRefuses(ctx context.Context, c *install.Cluster, namespace string) error {
	all, err := c.Installed(ctx)
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Namespace == namespace && i.ManagedBy == "Helm" {
			return errors.New("it was installed by Helm: remove it with helm uninstall")
		}
	}
	return nil
}

func (a *app) printPlan(r *install.Removal) {
	for _, o := range slices.Concat(r.Objects, r.Made, r.CRDs) {
		name := o.GetName()
		if ns := o.GetNamespace(); ns != "" {
			name = ns + "/" + name
		}
		fmt.Fprintf(a.out, "%s %s: removed (dry run)\n", o.GetKind(), name)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(a.out, n)
	}
}

func removalQuestion(r *install.Removal, cluster string) string {
	text := fmt.Sprintf("Remove %d objects of Weft from cluster %s", len(r.Objects)+len(r.Made), cluster)
	if len(r.CRDs) > 0 {
		text += fmt.Sprintf(", and %d CRDs", len(r.CRDs))
	}
	var lost []string
	for _, crd := range slices.Sorted(maps.Keys(r.Instances)) {
		lost = append(lost, fmt.Sprintf("%d %s", r.Instances[crd], crd))
	}
	if len(lost) > 0 {
		text += " with what is stored of them: " + strings.Join(lost, ", ")
	}
	return text + "?"
}

// leftSidecars says where pods still run a proxy that has no control plane.
func (a *app) leftSidecars(ctx context.Context, c *install.Cluster, r *install.Removal) error {
	if !r.Last {
		return nil
	}
	left, err := c.Injected(ctx)
	if err != nil {
		return err
	}
	for _, ns := range slices.Sorted(maps.Keys(left)) {
		fmt.Fprintf(a.out, "%d pods of namespace %s still have a sidecar: kubectl rollout restart deployment -n %s\n", left[ns], ns, ns)
	}
	return nil
}
