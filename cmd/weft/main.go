// Command weft is the mesh's command line; see package cli.
package main

import (
	"os"

	"github.com/weftmesh/weft/internal/cli"
	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/controller"
)

// version is set by the build.
var version = "unknown"

func main() {
	local.Reexec(controller.Run) // first: in the mesh's own processes it does not return
	os.Exit(cli.Main(version, os.Args[1:]))
}
