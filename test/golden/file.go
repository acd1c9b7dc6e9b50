// Package golden reads the files in which behaviours are written down, one
// txtar each, and checks what they say.
//
// A file has config.yaml (what a user would apply), proxy.yaml (whose
// configuration is looked at), calls.yaml (requests and what must come of
// them), diagnostics.txt (what Weft says of the configuration) and
// want/NAME.yaml (the few Envoy resources that the case is about). Calls are
// the intent: nothing ever rewrites them. diagnostics.txt and want/ are
// written by -update, and read in the diff. keys.yaml is what the pilot
// fetched for jwksUri. A push case has before.yaml,
// after.yaml and want-delta.txt in place of config.yaml and calls.yaml.
//
// Inputs: a file, resources, the simulator and a running Envoy. Output:
// problems as text. It may import Envoy's protos, internal/simulate and
// test/envoy; it knows nothing of how resources are made.
package golden

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/tools/txtar"
)

// File is one case. Get and Set work on its parts; Save writes it back.
type File struct {
	Path    string
	archive *txtar.Archive
	changed bool
}

// Load reads the case at path.
func Load(path string) (*File, error) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, f := range archive.Files {
		if seen[f.Name] {
			return nil, fmt.Errorf("%s: part %s is there twice", path, f.Name)
		}
		seen[f.Name] = true
	}
	return &File{Path: path, archive: archive}, nil
}

// Get is the content of a part; ok is false when the file has none such.
func (f *File) Get(name string) (content string, ok bool) {
	for _, part := range f.archive.Files {
		if part.Name == name {
			return string(part.Data), true
		}
	}
	return "", false
}

// Parts are the names of the parts that start with prefix, in file order.
func (f *File) Parts(prefix string) []string {
	var names []string
	for _, part := range f.archive.Files {
		if strings.HasPrefix(part.Name, prefix) {
			names = append(names, part.Name)
		}
	}
	return names
}

// Set replaces a part, or adds it at the end.
func (f *File) Set(name, content string) {
	if content != "" && !strings.HasSuffix(content, "\n") {
		content += "\n"
	}
	for i, part := range f.archive.Files {
		if part.Name == name {
			f.changed = f.changed || string(part.Data) != content
			f.archive.Files[i].Data = []byte(content)
			return
		}
	}
	f.changed = true
	f.archive.Files = append(f.archive.Files, txtar.File{Name: name, Data: []byte(content)})
}

// Save writes the file if anything was changed.
func (f *File) Save() error {
	if !f.changed {
		return nil
	}
	return os.WriteFile(f.Path, txtar.Format(f.archive), 0o644)
}

// Expect compares a part with what was found, or with update set rewrites it.
// It returns the difference as text; "" when there is none.
func (f *File) Expect(name, found string, update bool) string {
	if update {
		f.Set(name, found)
		return ""
	}
	want, _ := f.Get(name)
	if strings.TrimSpace(want) == strings.TrimSpace(found) {
		return ""
	}
	return fmt.Sprintf("%s differs (make update rewrites it):\n%s", name, Diff(want, found))
}

// Diff is a line by line difference: "-" for lines that only want has, "+" for
// those that only found has, a few lines of context around them.
func Diff(want, found string) string {
	a, b := strings.Split(strings.TrimSpace(want), "\n"), strings.Split(strings.TrimSpace(found), "\n")
	return strings.Join(around(lineSteps(a, b), 3), "\n")
}

// lineSteps turns a into b by the longest common subsequence of lines.
func lineSteps(a, b []string) []string {
	length := make([][]int, len(a)+1)
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var steps []string
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			steps = append(steps, "  "+a[i])
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			steps = append(steps, "- "+a[i])
			i++
		default:
			steps = append(steps, "+ "+b[j])
			j++
		}
	}
	for ; i < len(a); i++ {
		steps = append(steps, "- "+a[i])
	}
	for ; j < len(b); j++ {
		steps = append(steps, "+ "+b[j])
	}
	return steps
}

// around keeps the changed lines and n lines around each.
func around(steps []string, n int) []string {
	keep := make([]bool, len(steps))
	for i, s := range steps {
		if strings.HasPrefix(s, "  ") {
			continue
		}
		for k := max(0, i-n); k <= min(len(steps)-1, i+n); k++ {
			keep[k] = true
		}
	}
	var out []string
	for i, s := range steps {
		if keep[i] {
			out = append(out, s)
		} else if len(out) > 0 && out[len(out)-1] != "..." {
			out = append(out, "...")
		}
	}
	return slices.Clip(out)
}
