package cluster

import (
	"path/filepath"

	"github.com/weftmesh/weft/internal/image"
)

// Images of the cluster itself.
const (
	pauseImage   = "localhost/weft-test/pause:1"
	corednsImage = "localhost/weft-test/coredns:1"
)

// writeImages writes their archives, and gives the paths.
func (l layout) writeImages() ([]string, error) {
	all := map[string]image.Image{
		"pause":   {Names: []string{pauseImage}, Files: map[string]string{"/pause": l.daemon()}, Entrypoint: []string{"/pause"}, User: "65535:65535"},
		"coredns": {Names: []string{corednsImage}, Files: map[string]string{"/coredns": l.programs["coredns"]}, Entrypoint: []string{"/coredns"}},
	}
	var paths []string
	for _, name := range []string{"pause", "coredns"} {
		path := filepath.Join(l.dir, "images", name+".tar")
		if err := all[name].Write(path); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}
