// Package licence says under which licences the modules are that our programs
// are linked from, and which of those the project accepts.
//
// Inputs: the list of packages that `go list` makes, and the licence files in
// the module cache. Outputs: SPDX identifiers. It may import licensecheck and
// nothing of the project.
package licence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// Accepted are the licences, by SPDX identifier, of code that may be linked into
// a program of ours: they ask for a notice, and for nothing of our own source.
var Accepted = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// covered is how much of a file, in percent of its words, must be the text of
// licences that are known: pkg.go.dev takes the same share.
const covered = 75

// file matches names of files that hold a licence.
var file = regexp.MustCompile(`(?i)^(un)?(licen[cs]es?|copying)([-._].*)?$`)

// code matches files whose name begins so and which are source.
var code = regexp.MustCompile(`(?i)\.(go|s|c|h|json|tmpl)$`)

// In names the licences of the files in one folder, sorted; none where it has
// no such file. A file that is not the text of a licence is an error.
func In(dir string) (ids []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if entry.IsDir() || !file.MatchString(entry.Name()) || code.MatchString(entry.Name()) {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		found := licensecheck.Scan(text)
		if found.Percent < covered {
			return nil, fmt.Errorf("%s: %.0f %% of it is the text of a known licence, want %d: read it", path, found.Percent, covered)
		}
		for _, match := range found.Match {
			ids = append(ids, match.ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// Package is one package that a program is linked from.
type Package struct {
	ImportPath string
	Dir        string
	Module     *Module // nil: of Go's standard library
}

// Module is what `go list` says of a module; Dir is in the module cache.
type Module struct {
	Path, Version, Dir string
	Main               bool
}

// Linked are the packages of other modules that the programs of those patterns
// are linked from. root is the folder of the main module.
func Linked(ctx context.Context, root string, patterns ...string) (out []Package, err error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-json=ImportPath,Dir,Module"}, patterns...)...)
	cmd.Dir = root
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list -deps in %s: %w", root, err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(text))); ; {
		var p Package
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		if p.Module != nil && !p.Module.Main {
			out = append(out, p)
		}
	}
}

// Of names the licences of a package: those in its folder and in each above it,
// up to its module's. None at all is an error.
func Of(p Package) (ids []string, err error) {
	for dir := p.Dir; ; dir = filepath.Dir(dir) {
		here, err := In(dir)
		if err != nil {
			return nil, err
		}
		ids = append(ids, here...)
		if dir == p.Module.Dir || !strings.HasPrefix(dir, p.Module.Dir) {
			break
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%s of %s: no licence in any folder from %s up", p.ImportPath, p.Module.Path, p.Dir)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// Refused are those of ids that are not accepted.
func Refused(ids []string) (out []string) {
	for _, id := range ids {
		if !slices.Contains(Accepted, id) {
			out = append(out, id)
		}
	}
	return out
}
