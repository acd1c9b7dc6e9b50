package view

import (
	"fmt"
	"hash/fnv"
	"strings"
)

// maxServerName is what TLS takes as a server name, in bytes (RFC 6066, and
// Envoy's UpstreamTlsContext.sni).
const maxServerName = 255

// serverName is the SNI of mesh mTLS towards a port of a host. Where the host
// is so long that TLS would not take it, its end is told by a hash: servers look
// at the prefix alone, and gateways that pass it on make the same.
func serverName(port uint32, subset, host string) string {
	name := fmt.Sprintf("outbound_.%d_.%s_.%s", port, subset, host)
	if len(name) <= maxServerName {
		return name
	}
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(strings.ToLower(name))) // a hash takes all
	end := fmt.Sprintf("_%016x", sum.Sum64())
	return name[:maxServerName-len(end)] + end
}
