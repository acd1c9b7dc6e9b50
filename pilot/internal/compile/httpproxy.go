package compile

import (
	"github.com/weftmesh/weft/internal/diag"
)

// Sidecars listen on some of these ports themselves.
const (
	firstOwnPort = 15000
	lastOwnPort  = 15099
)

// compileHTTPProxy reads proxyHttpPort; 0 is none, and so is what cannot be
// listened on.
//
// Source: istio.io/api mesh/v1alpha1, MeshConfig.proxyHttpPort.
func compileHTTPProxy(port int32, d *diag.List) uint32 {
	switch at := diag.Path("proxyHttpPort"); {
	case port == 0:
		return 0
	case port < 0 || port > 65535:
		d.Add(diag.Invalid, at, "%d is no port (1 to 65535); sidecars are no HTTP proxies", port)
		return 0
	case port >= firstOwnPort && port <= lastOwnPort:
		d.Add(diag.Invalid, at, "%d: the ports from %d to %d are the sidecars' own; they are no HTTP proxies", port, firstOwnPort, lastOwnPort)
		return 0
	}
	return uint32(port)
}
