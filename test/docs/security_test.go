package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The last column of a table "cannot | because | held by" of docs/security.md
// names tests and golden cases: each is there, and no row is without one.
func TestDefencesAreHeld(t *testing.T) {
	tests, rows := testsOfTheTree(t), 0
	name := regexp.MustCompile("`([^`]+)`")
	within := false
	for line := range strings.Lines(read(t, filepath.Join(root, "docs/security.md"))) {
		if strings.HasPrefix(line, "| cannot |") {
			within = true
			continue
		}
		if within = within && strings.HasPrefix(line, "|"); !within || strings.HasPrefix(line, "|---") {
			continue
		}
		rows++
		cell := strings.Split(strings.TrimSpace(line), "|")
		held := name.FindAllStringSubmatch(cell[len(cell)-2], -1)
		if len(held) == 0 {
			t.Errorf("no test is named: %s", line)
		}
		for _, h := range held {
			if strings.HasPrefix(h[1], "Test") && !tests[h[1]] {
				t.Errorf("there is no %s: %s", h[1], line)
			} else if _, err := os.Stat(filepath.Join(root, "pilot/testdata", h[1]+".txtar")); !strings.HasPrefix(h[1], "Test") && err != nil {
				t.Errorf("there is no case %s in pilot/testdata: %s", h[1], line)
			}
		}
	}
	if rows < 30 {
		t.Errorf("%d rows found: is the table's head still the same?", rows)
	}
}

// testsOfTheTree are the names of all test functions.
func testsOfTheTree(t *testing.T) map[string]bool {
	t.Helper()
	out, function := map[string]bool{}, regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, f := range function.FindAllStringSubmatch(read(t, path), -1) {
			out[f[1]] = true
		}
		return nil
	})
	if err != nil || len(out) == 0 {
		t.Fatalf("found %d tests: %v", len(out), err)
	}
	return out
}
