package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/envoybin"
)

func (a *app) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "version", Short: "Show the versions of this command and of the Envoy that it fetches", Args: exactly(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := map[string]string{"version": a.version, "envoy": envoybin.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			if a.output == "json" {
				return a.json(v)
			}
			_, err := fmt.Fprintf(a.out, "weft %s (Envoy %s, %s, %s)\n", v["version"], v["envoy"], v["go"], v["platform"])
			return err
		},
	}
	a.outputFlag(c, "json")
	return c
}
