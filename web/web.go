// Package web is the front end of `weft dashboard`, built and embedded.
//
// In: dist, which `make web` makes of the sources beside it (TypeScript), and
// which is committed so that `go install` needs nothing else. Out: its files.
// Imports: the standard library only.
package web

import (
	"embed"
	"io/fs"
)

//go:embed dist
var dist embed.FS

// Assets are the page's files: index.html, favicon.svg, licenses.txt, and
// assets/ with the script and the style. Their names stay the same from one
// version to the next.
func Assets() fs.FS {
	assets, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // only of a path that is not valid
	}
	return assets
}
