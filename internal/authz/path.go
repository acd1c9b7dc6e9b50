package authz

import (
	"strings"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/simulate/urlpath"
)

// Normal is a request's path as the proxy normalises it before any policy is
// asked.
// Of one with escaped slashes that the proxy answers itself it is as it came where
// it is refused, and where the redirect leads to.
// Source: istio.io/api mesh/v1alpha1, MeshConfig.ProxyPathNormalization and
// ProxyConfig.ConnectionSettings.
func Normal(path string, how model.PathForm) string {
	bare, query, asks := strings.Cut(path, "?")
	if how.Slashes == model.SlashesForward || how.Slashes == model.SlashesRedirect {
		bare = urlpath.Unslash(bare)
	}
	if how.Segments {
		bare = urlpath.Clean(bare)
	}
	if how.Merge {
		bare = urlpath.Merge(bare)
	}
	if asks {
		bare += "?" + query
	}
	return bare
}
