package authz

import (
	"strings"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/simulate/urlpath"
)

// Normal is a request's path as the proxy normalises it before any policy is
// asked.
// Source: istio.io/api mesh/v1alpha1, MeshConfig.ProxyPathNormalization.
func Normal(path string, how model.Paths) string {
	bare, query, asks := strings.Cut(path, "?")
	if how == model.PathsDecode {
		bare = urlpath.Unslash(bare)
	}
	if how != model.PathsNone {
		bare = urlpath.Clean(bare)
	}
	if how == model.PathsMerge || how == model.PathsDecode {
		bare = urlpath.Merge(bare)
	}
	if asks {
		bare += "?" + query
	}
	return bare
}
