package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// pages are the Markdown files of the repository, relative to its root.
func pages(t *testing.T) (out []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "node_modules") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			out = append(out, path)
		}
		return nil
	})
	if err != nil || len(out) == 0 {
		t.Fatalf("found %d pages: %v", len(out), err)
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	for _, page := range pages(t) {
		for _, found := range link.FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), found[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", page, found[1])
			}
		}
	}
}

func TestReadmeQuotesTheCanary(t *testing.T) {
	canary := read(t, filepath.Join(root, "samples/canary/canary.yaml"))
	if !strings.Contains(read(t, filepath.Join(root, "README.md")), "```yaml\n"+canary+"```") {
		t.Error("the canary of README.md is not samples/canary/canary.yaml: paste it again")
	}
}

// The table of make demo is pasted as it was printed, and fits 100 columns.
func TestReadmeQuotesTheDemo(t *testing.T) {
	_, table, found := strings.Cut(read(t, filepath.Join(root, "README.md")), "```\nwhat  ")
	table, _, closed := strings.Cut(table, "```")
	if !found || !closed || !regexp.MustCompile(`\n\n(\d+) of (\d+) held, in \d+ s\.\n$`).MatchString(table) {
		t.Fatalf("README.md has no whole table of make demo:\n%s", table)
	}
	for line := range strings.Lines(table) {
		if len([]rune(strings.TrimSuffix(line, "\n"))) > 100 {
			t.Errorf("wider than 100 columns: %s", line)
		}
	}
}

func TestReadmeStartsWithTheTwoCommands(t *testing.T) {
	readme := read(t, filepath.Join(root, "README.md"))
	_, block, _ := strings.Cut(readme, "```sh\n")
	for i, command := range []string{"make demo", "make test"} {
		lines := strings.Split(block, "\n")
		if len(lines) <= i || !strings.HasPrefix(lines[i], command) {
			t.Errorf("line %d of the first block of README.md is not %q", i+1, command)
		}
	}
}

func TestDecisionsAreNumberedAndListed(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "docs/decisions/[0-9]*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d decisions: %v", len(files), err)
	}
	index := read(t, filepath.Join(root, "docs/decisions/README.md"))
	numbers := map[string]string{}
	for _, file := range files {
		name := filepath.Base(file)
		if !strings.Contains(index, "("+name+")") {
			t.Errorf("docs/decisions/README.md does not list %s", name)
		}
		number, _, _ := strings.Cut(name, "-")
		if other := numbers[number]; other != "" {
			t.Errorf("%s and %s have the same number", other, name)
		}
		numbers[number] = name
		if !strings.HasPrefix(read(t, file), "# "+number+": ") {
			t.Errorf("%s does not start with its number and title", name)
		}
	}
}
