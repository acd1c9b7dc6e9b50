package cli

import (
	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/local"
)

// folders completes one folder.
func folders(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func meshNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names, err := local.List()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// podNames completes one pod of the running mesh, and after it what the shell
// would.
func (a *app) podNames(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	mesh, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	st, err := status(c.Context(), mesh)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, p := range st.Pods {
		out = append(out, p.Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// kindThenPod completes the arguments of weft proxy-config.
func (a *app) kindThenPod(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return configKinds, cobra.ShellCompDirectiveNoFileComp
	case 1:
		return a.podNames(c, nil, word)
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
