package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Version of this build; set by the linker (-X).
var Version = "dev"

func (a *app) version() *cobra.Command {
	c := &cobra.Command{
		Use: "version", Short: "Show the version of this command", Args: exactly(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := map[string]string{"version": Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH, "revision": revision()}
			if a.output == "json" {
				return a.json(v)
			}
			_, err := fmt.Fprintf(a.out, "weft %s (%s, %s, %s)\n", v["version"], v["revision"], v["go"], v["platform"])
			return err
		},
	}
	a.outputFlag(c, "json")
	return c
}

func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(len(s.Value), 12)]
		}
	}
	return "unknown"
}
