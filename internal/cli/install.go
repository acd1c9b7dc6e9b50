package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/install"
)

// installFlags are those of install, upgrade and manifest generate.
type installFlags struct {
	kube
	inputs  install.Inputs
	dryRun  bool
	yes     bool
	timeout time.Duration
	wait    bool
	only    bool // one namespace, by rights in it alone
}

const installWithin = 5 * time.Minute

func (f *installFlags) values(c *cobra.Command) {
	set := c.Flags()
	set.StringVar(&f.inputs.Profile, "profile", "", "`PROFILE` to begin with: "+strings.Join(install.Profiles(), ", ")+"; default: default")
	set.StringArrayVarP(&f.inputs.Files, "values", "f", nil, "YAML `FILE` with values; - is standard input; may be given several times, the last wins")
	set.StringArrayVar(&f.inputs.Sets, "set", nil, "value `KEY=VALUE`, such as gateways.ingress.type=NodePort; it wins over files")
	set.StringVar(&f.inputs.Revision, "revision", "", "`NAME` of this control plane, beside others; default: default")
	_ = c.RegisterFlagCompletionFunc("profile", cobra.FixedCompletions(install.Profiles(), cobra.ShellCompDirectiveNoFileComp))
}

func (f *installFlags) apply(c *cobra.Command) {
	set := c.Flags()
	set.BoolVar(&f.dryRun, "dry-run", false, "ask the API server what would be done, and change nothing")
	set.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	set.BoolVar(&f.wait, "wait", true, "wait until all is ready; --wait=false returns when it is applied")
	set.DurationVar(&f.timeout, "timeout", installWithin, "how long to wait")
}

func (a *app) install() *cobra.Command {
	var f installFlags
	c := &cobra.Command{
		Use: "install", GroupID: "cluster", Short: "Install Weft into a cluster, or change what is installed",
		Long: "Install Weft into the cluster of the kubeconfig: CRDs, control plane, gateways. Done again, it\n" +
			"changes what differs, and nothing if nothing does. The values are those of the chart; weft\n" +
			"manifest generate shows what is applied, and helm install of the same chart gives the same.",
		Example: "  weft install\n  weft install --profile demo --set gateways.ingress.type=NodePort -y\n  weft install -f values.yaml --dry-run",
		Args:    exactly(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runInstall(cmd.Context(), &f, nil) },
	}
	f.flags(c, "n")
	f.values(c)
	f.apply(c)
	f.namespaced(c)
	return c
}

func (f *installFlags) namespaced(c *cobra.Command) {
	c.Flags().BoolVar(&f.only, "namespaced", false, "serve the namespace of -n alone, by Roles in it: for those without rights in the cluster")
}

func (a *app) upgrade() *cobra.Command {
	var f installFlags
	c := &cobra.Command{
		Use: "upgrade", GroupID: "cluster", Short: "Bring what is installed to the version of this command",
		Long: "Bring an installed revision to the version of this command. The values that it was installed\n" +
			"with are kept; -f and --set change some of them, --profile begins anew. Pods keep the sidecar\n" +
			"that they have until they are restarted.",
		Args: exactly(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runUpgrade(cmd.Context(), &f) },
	}
	f.flags(c, "n")
	f.values(c)
	f.apply(c)
	return c
}

func (a *app) runUpgrade(ctx context.Context, f *installFlags) error {
	cluster, err := f.installed(ctx)
	if err != nil {
		return err
	}
	all, err := cluster.Installed(ctx)
	if err != nil {
		return err
	}
	revision := cmp.Or(f.inputs.Revision, install.DefaultRevision)
	old := install.Find(all, f.kube.namespace, revision)
	switch {
	case old == nil:
		return fmt.Errorf("revision %q is not installed in namespace %s; weft install installs it", revision, f.kube.namespace)
	case old.ManagedBy == "Helm":
		return errors.New("it was installed by Helm: upgrade it with helm upgrade")
	}
	f.inputs.Base = old.Values
	fmt.Fprintf(a.err, "upgrade from %s to %s\n", old.Version(), a.version)
	return a.runInstall(ctx, f, old)
}

// runInstall installs; old is what an upgrade found.
func (a *app) runInstall(ctx context.Context, f *installFlags, old *install.Installed) error {
	m, err := a.render(f)
	if err != nil {
		return err
	}
	cluster, err := f.cluster()
	if err != nil {
		return err
	}
	if err := usable(cluster); err != nil {
		return err
	}
	if !f.dryRun {
		if err := a.confirm(f.yes, fmt.Sprintf("Install Weft %s into cluster %s, namespace %s?", a.version, f.name(), m.Namespace)); err != nil {
			return err
		}
	}
	began := time.Now()
	o := install.Options{DryRun: f.dryRun, Say: a.say}
	if f.wait {
		o.Wait = f.timeout
	}
	changes, err := cluster.Install(ctx, m, o)
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.printChanges(changes)
	}
	a.installed(m, old, time.Since(began))
	return nil
}

// usable refuses what an install cannot work on.
func usable(c *install.Cluster) error {
	v, err := c.Version()
	if err != nil {
		return err
	}
	return install.Supported(v)
}

func (a *app) say(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }

func (a *app) render(f *installFlags) (*install.Manifest, error) {
	f.inputs.Stdin = os.Stdin
	if f.only {
		f.inputs.Sets = append(f.inputs.Sets, install.NamespacedSet)
	}
	values, err := f.inputs.Values()
	if err != nil {
		return nil, usageError{err}
	}
	m, err := install.Render(install.Release{Version: a.version, Namespace: f.kube.namespace, Values: values})
	if err != nil {
		return nil, usageError{err}
	}
	return m, nil
}

func (a *app) printChanges(changes []install.Change) error {
	for _, ch := range changes {
		if ch.Done != install.Unchanged {
			fmt.Fprintf(a.out, "%s: %s (dry run)\n", ch.Object, ch.Done)
		}
	}
	return nil
}

// installed says what to do next.
func (a *app) installed(m *install.Manifest, old *install.Installed, took time.Duration) {
	fmt.Fprintf(a.out, "Weft %s is installed in namespace %s (%.0fs)\n", a.version, m.Namespace, took.Seconds())
	if m.OneOnly {
		a.installedOne(m)
		return
	}
	label := "istio-injection=enabled"
	if m.Revision != install.DefaultRevision {
		label = "istio.io/rev=" + m.Revision
	}
	if old != nil {
		fmt.Fprintf(a.out, "next: kubectl rollout restart deployment -n NAMESPACE gives pods the new sidecar; weft check\n")
		return
	}
	fmt.Fprintf(a.out, "next: kubectl label namespace NAMESPACE %s, then restart its pods; weft check says whether all is well\n", label)
}

// installedOne says what an install of one namespace does without, and so what
// to do next.
func (a *app) installedOne(m *install.Manifest) {
	fmt.Fprintf(a.out, "it serves this namespace alone:\n")
	for _, line := range install.Lacking(m.Namespace) {
		fmt.Fprintf(a.out, "  %s\n", line)
	}
}

func (a *app) manifest() *cobra.Command {
	c := &cobra.Command{
		Use: "manifest", GroupID: "cluster", Short: "Show what would be installed", Args: exactly(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var f installFlags
	var admin bool
	generate := &cobra.Command{
		Use: "generate", Short: "Print the objects of an install; no cluster is asked", Args: exactly(cobra.NoArgs),
		Example: "  weft manifest generate --profile minimal | kubectl diff -f -",
		RunE: func(*cobra.Command, []string) error {
			m, err := a.generated(&f, admin)
			if err != nil {
				return err
			}
			return a.printManifest(a.out, m)
		},
	}
	generate.Flags().StringVarP(&f.kube.namespace, "namespace", "n", install.DefaultNamespace, "`NAMESPACE` to install into")
	f.values(generate)
	f.namespaced(generate)
	generate.Flags().BoolVar(&admin, "for-admin", false, "only what an administrator must make once for installs with --namespaced: CRDs, and the right to Istio's kinds")
	a.outputFlag(generate, "yaml", "json")
	c.AddCommand(generate)
	return c
}

func (a *app) generated(f *installFlags, admin bool) (*install.Manifest, error) {
	if !admin {
		return a.render(f)
	}
	objects, err := install.AdminObjects()
	return &install.Manifest{Objects: objects}, err
}

// printManifest prints a YAML stream, or a List in JSON: kubectl reads both.
func (a *app) printManifest(w io.Writer, m *install.Manifest) error {
	if a.output == "json" {
		var items []any
		for _, o := range m.All() {
			items = append(items, o.Object)
		}
		return a.json(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	}
	text, err := m.YAML()
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}
