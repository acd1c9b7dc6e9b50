package agent

import (
	"os"
	"path/filepath"
	"testing"
)

// TestHeapLimit: the kernel's texts, of both versions of control groups.
func TestHeapLimit(t *testing.T) {
	for name, c := range map[string]struct {
		file, text string
		want       int64
	}{
		"1 GiB":              {"memory.max", "1073741824\n", 1<<30 - 1<<26},
		"256 MiB":            {"memory.max", "268435456\n", 208 << 20},
		"too small to share": {"memory.max", "67108864\n", 0},
		"unlimited":          {"memory.max", "max\n", 0},
		"version 1":          {"memory/memory.limit_in_bytes", "268435456\n", 208 << 20},
		"version 1, none":    {"memory/memory.limit_in_bytes", "9223372036854771712\n", 0},
		"no control group":   {"other", "", 0},
		"not a number":       {"memory.max", "-\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), c.file)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			root := path[:len(path)-len(c.file)]
			if got := heapLimit(root); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}
