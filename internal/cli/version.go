package cli

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/envoybin"
)

// versions are what `weft version` shows. Server is left out where no cluster
// is asked, and empty where Weft is not installed.
type versions struct {
	Version  string          `json:"version"`
	Envoy    string          `json:"envoy"`
	Go       string          `json:"go"`
	Platform string          `json:"platform"`
	Server   []serverVersion `json:"server,omitempty"`
}

// serverVersion is one revision in a cluster.
type serverVersion struct {
	Namespace  string            `json:"namespace"`
	Revision   string            `json:"revision"`
	Components map[string]string `json:"components"`
}

// askWithin bounds how long `weft version` waits for a cluster.
const askWithin = 5 * time.Second

func (a *app) versionCommand() *cobra.Command {
	var k kube
	var client bool
	c := &cobra.Command{
		Use: "version", Short: "Show the versions of this command, of its Envoy, and of the cluster's Weft", Args: exactly(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			v := versions{Version: a.version, Envoy: envoybin.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			var failed error
			if !client && k.there() {
				v.Server, failed = k.serverVersions(c.Context())
			}
			if err := a.printVersions(v); err != nil {
				return err
			}
			if failed != nil && !k.given() {
				fmt.Fprintln(a.err, "cluster:", failed) // it was not asked for by name
				return nil
			}
			return failed
		},
	}
	k.flags(c, "n")
	c.Flags().BoolVar(&client, "client", false, "ask no cluster")
	a.outputFlag(c, "json", "yaml")
	return c
}

func (k *kube) serverVersions(ctx context.Context) (out []serverVersion, err error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	cluster, err := k.cluster()
	if err != nil {
		return nil, err
	}
	all, err := cluster.Installed(ctx)
	for _, i := range all {
		out = append(out, serverVersion{i.Namespace, i.Revision, i.Components})
	}
	return out, err
}

func (a *app) printVersions(v versions) error {
	switch a.output {
	case "json":
		return a.json(v)
	case "yaml":
		return a.yaml(v)
	}
	fmt.Fprintf(a.out, "weft %s (Envoy %s, %s, %s)\n", v.Version, v.Envoy, v.Go, v.Platform)
	for _, s := range v.Server {
		for _, name := range slices.Sorted(maps.Keys(s.Components)) {
			fmt.Fprintf(a.out, "%s/%s %s (revision %s)\n", s.Namespace, name, s.Components[name], s.Revision)
		}
	}
	return nil
}
