package apis

import (
	"embed"
	"fmt"
	"io/fs"
)

//go:generate go run ./internal/crdgen crds

//go:embed crds/*.yaml
var crdFiles embed.FS

// OwnerAnnotation is on each CustomResourceDefinition that Weft makes, with
// the value "weft".
const OwnerAnnotation = "weft.mesh/owner"

// CRDs are the CustomResourceDefinitions of Istio's API (group
// networking.istio.io and its sisters) as YAML, one a file, by name of file:
// GROUP_PLURAL.yaml. They are Istio's own, at the version of istio.io/api in
// go.mod, but for labels and annotations.
func CRDs() (map[string][]byte, error) {
	entries, err := fs.ReadDir(crdFiles, "crds")
	if err != nil {
		return nil, fmt.Errorf("built-in CRDs: %w", err)
	}
	out := make(map[string][]byte, len(entries))
	for _, e := range entries {
		if out[e.Name()], err = crdFiles.ReadFile("crds/" + e.Name()); err != nil {
			return nil, fmt.Errorf("built-in CRDs: %w", err)
		}
	}
	return out, nil
}
