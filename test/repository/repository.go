// Package repository finds the repository that a test or a tool of the tests runs in.
//
// In: the working directory. Out: the repository's top folder. It imports only
// the standard library.
package repository

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// Root returns the top folder of the repository that the working directory is in:
// the one whose go.mod is Weft's own, not that of one of the tests' modules.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(content), "module github.com/weftmesh/weft\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not inside the repository of Weft: no go.mod of it above the working directory")
		}
	}
}
