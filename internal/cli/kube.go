package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/weftmesh/weft/install"
)

// kube says which cluster a command speaks to, as kubectl's flags do.
type kube struct {
	kubeconfig string
	context    string
	namespace  string // of Weft itself
}

// flags adds those of kubectl. Where -n is the namespace of a pod, that of Weft
// itself has a long name only.
func (k *kube) flags(c *cobra.Command, short string) {
	f := c.Flags()
	f.StringVar(&k.kubeconfig, "kubeconfig", "", "`FILE` that names the cluster; default: $KUBECONFIG, else ~/.kube/config")
	f.StringVar(&k.context, "context", "", "`CONTEXT` of the kubeconfig; default: its current one")
	name := "namespace"
	if short == "" {
		name = "weft-namespace"
	}
	f.StringVarP(&k.namespace, name, short, install.DefaultNamespace, "`NAMESPACE` that Weft is installed in")
	_ = c.RegisterFlagCompletionFunc("context", k.contexts)
}

// given says whether the user named a cluster.
func (k *kube) given() bool { return k.kubeconfig != "" || k.context != "" }

// pin keeps to the context that is current now.
func (k *kube) pin() {
	if raw, err := k.loader().RawConfig(); err == nil && k.context == "" {
		k.context = raw.CurrentContext
	}
}

func (k *kube) loader() clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = k.kubeconfig
	rules.WarnIfAllMissing = false
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: k.context})
}

// there says whether a kubeconfig names a cluster.
func (k *kube) there() bool {
	raw, err := k.loader().RawConfig()
	return err == nil && len(raw.Clusters) > 0 && (k.context != "" || raw.CurrentContext != "")
}

// config is the client configuration. An error says what to do about it.
func (k *kube) config() (*rest.Config, error) {
	klog.SetOutput(io.Discard) // its messages are for programs that run long
	klog.LogToStderr(false)
	config, err := k.loader().ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("no cluster: there is no kubeconfig; name one with --kubeconfig or $KUBECONFIG")
	}
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return config, nil
}

// name is what a person calls the cluster: the context, and its address.
func (k *kube) name() string {
	raw, err := k.loader().RawConfig()
	if err != nil {
		return "unknown"
	}
	name := k.context
	if name == "" {
		name = raw.CurrentContext
	}
	if c := raw.Contexts[name]; c != nil && raw.Clusters[c.Cluster] != nil {
		return fmt.Sprintf("%s (%s)", name, raw.Clusters[c.Cluster].Server)
	}
	return name
}

// cluster reaches the cluster.
func (k *kube) cluster() (*install.Cluster, error) {
	config, err := k.config()
	if err != nil {
		return nil, err
	}
	return install.NewCluster(config)
}

// installed is the cluster as an install in the namespace needs it to be seen: as
// a whole, or that namespace alone.
func (k *kube) installed(ctx context.Context) (*install.Cluster, error) {
	cluster, err := k.cluster()
	if err != nil {
		return nil, err
	}
	if _, err := cluster.Version(); err != nil {
		return nil, err
	}
	return cluster.As(ctx, k.namespace)
}

// contexts completes --context.
func (k *kube) contexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	raw, err := k.loader().RawConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for name := range raw.Contexts {
		out = append(out, name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// confirm asks a person on the terminal; where there is none, -y must have said
// yes.
func (a *app) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return usageError{errors.New("there is no terminal to ask on: say yes with -y, or look first with --dry-run")}
	}
	fmt.Fprintf(a.err, "%s (y/N) ", question)
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && answer == "" {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	fmt.Fprintln(a.err, "nothing was changed")
	return exitCode(1)
}
