package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// copySample copies the sample's YAML to a temporary folder laid out as the
// repository is, so that ../../bin is found from it, and that an edit leaves
// the repository clean. remove deletes the copy.
func copySample(sample, bin string) (dir string, remove func(), err error) {
	bin, err = filepath.Abs(bin)
	if err != nil {
		return "", nil, err
	}
	files, err := filepath.Glob(filepath.Join(sample, "*.yaml"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no YAML in %s: run this in the root of the repository", sample)
	}
	if err != nil {
		return "", nil, err
	}
	root, err := os.MkdirTemp("", "weft-demo-")
	if err != nil {
		return "", nil, fmt.Errorf("make a folder for the copy of the sample: %w", err)
	}
	remove = func() { _ = os.RemoveAll(root) }
	dir = filepath.Join(root, "samples", filepath.Base(sample))
	if err := fill(root, dir, bin, files); err != nil {
		remove()
		return "", nil, fmt.Errorf("copy the sample: %w", err)
	}
	return dir, remove, nil
}

func fill(root, dir, bin string, files []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(bin, filepath.Join(root, "bin")); err != nil {
		return err
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// edit replaces each old text by the new one in a file, as an editor does: the
// whole new file at once. Each must occur exactly once.
func edit(file string, replace ...[2]string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text := string(data)
	for _, r := range replace {
		if n := strings.Count(text, r[0]); n != 1 {
			return fmt.Errorf("%s: %q occurs %d times, want once", file, r[0], n)
		}
		text = strings.Replace(text, r[0], r[1], 1)
	}
	next := file + ".new"
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(next, file)
}
