// Package install puts Weft into a Kubernetes cluster and takes it out again.
//
// In: the chart in charts/weft and the profiles (both built in), values, and a
// cluster's API. Out: rendered objects, and their state in the cluster: applied
// by server-side apply, awaited, checked, removed. `weft install` is this
// package over Helm's engine, so that `helm install` gives the same objects. It
// may import apis and the packages below the components, and no component.
package install

import (
	"embed"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"

	"github.com/weftmesh/weft/apis"
)

//go:embed all:charts/weft profiles/*.yaml
var files embed.FS

const chartDir = "charts/weft"

// DefaultNamespace is where Weft is installed, DefaultRevision the name of the
// control plane that injects where istio-injection=enabled says so.
const (
	DefaultNamespace = "weft-system"
	DefaultRevision  = "default"
)

// Labels and values by which an object of Weft's is known.
const (
	partOf      = "app.kubernetes.io/part-of"
	partOfWeft  = "weft"
	managedBy   = "app.kubernetes.io/managed-by"
	component   = "app.kubernetes.io/component"
	system      = "weft.mesh/system" // the namespace of the install that an object belongs to
	revisionKey = "istio.io/rev"
)

// Chart is the built-in chart with the CRDs, at version: the version of the
// build, which is the images' tag unless values say otherwise.
func Chart(version string) (*chart.Chart, error) {
	var found []*archive.BufferedFile
	err := fs.WalkDir(files, chartDir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := files.ReadFile(name)
		found = append(found, &archive.BufferedFile{Name: strings.TrimPrefix(name, chartDir+"/"), Data: text})
		return err
	})
	if err != nil {
		return nil, err
	}
	// In the folder, crds is a link to those of apis.
	crds, err := apis.CRDs()
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(crds)) {
		found = append(found, &archive.BufferedFile{Name: path.Join("crds", name), Data: crds[name]})
	}
	c, err := loader.LoadFiles(found)
	if err != nil {
		return nil, err
	}
	c.Metadata.AppVersion = version
	return c, nil
}
