package compile

import (
	"strings"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/memo"
)

// checkShort reports a host of a ServiceEntry that is a shorter name of a
// Service. That Service's virtual host has the name already, and in a table of
// routes a name stands once; as in Istio the entry gets no requests by it.
func (s scope) checkShort(host, namespace string, at diag.Path, d *diag.List) {
	parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(host, "*."), ".svc"), ".")
	if len(parts) == 1 {
		parts = append(parts, namespace)
	}
	if len(parts) > 2 {
		return
	}
	full := hostname.Service(parts[0], parts[1], s.settings().ClusterDomain)
	if _, ok := memo.Get(s.r, &s.c.kube.values.Cell, full); ok {
		d.Add(diag.ShortHost, at, "%q is a shorter name of the Service %s/%s: HTTP requests by it go there", host, parts[1], parts[0])
	}
}
