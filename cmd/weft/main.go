// Command weft is the mesh's command line; see package cli.
package main

import (
	"os"

	"github.com/weftmesh/weft/internal/cli"
	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/controller"
)

func main() {
	local.Reexec(controller.Run) // first: in the mesh's own processes it does not return
	os.Exit(cli.Main(os.Args[1:]))
}
