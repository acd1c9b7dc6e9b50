package local

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/samples/bookshop/load"
)

// step is a part of a guide, in its order: a file to save, or a command.
type step struct{ file, text string }

// steps reads a guide: a YAML block is the file that the line before it names, a
// line of a shell block a command.
func steps(t *testing.T, path string) (out []step) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)(?:file `([^`]+)`:\n\n)?```(yaml|sh)\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	for _, b := range blocks {
		if b[2] == "yaml" {
			out = append(out, step{b[1], b[3]})
			continue
		}
		for line := range strings.Lines(b[3]) {
			out = append(out, step{text: strings.TrimSpace(line)})
		}
	}
	return out
}

// site is a folder with bin/ and a copy of a sample, where a guide is followed
// with a mesh of its own.
func site(t *testing.T, sample string) (dir string, bash func(line string) ([]byte, error)) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Symlink(binaries(t), filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "samples", sample), os.DirFS(filepath.Join("..", "..", "samples", sample))); err != nil {
		t.Fatal(err)
	}
	bash = func(line string) ([]byte, error) {
		cmd := exec.Command("bash", "-c", line)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), fmt.Sprintf("WEFT_MESH=guide-%d", os.Getpid()))
		return cmd.Output()
	}
	t.Cleanup(func() { _, _ = bash("bin/weft down") }) // where the guide did not come so far
	return dir, bash
}

// spread says why a report's calls were not answered well by so many pods over
// one connection.
func spread(text []byte, pods int) error {
	var got load.GRPCReport
	if err := json.Unmarshal(text, &got); err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	if got.Failed != 0 || got.Connections != 1 || len(got.ByPod) != pods {
		return fmt.Errorf("got %+v, want %d pods over one connection and no failure", got, pods)
	}
	for pod, n := range got.ByPod {
		if n < got.Total/pods/2 {
			return fmt.Errorf("%s answered %d of %d", pod, n, got.Total)
		}
	}
	return nil
}

// The guide from a plain Envoy works as it is written: the first call has one
// pod, and each after it all three, whoever spreads them.
func TestPlainEnvoyGuide(t *testing.T) {
	dir, bash := site(t, "plain-envoy")
	pods := 1
	for _, s := range steps(t, "../../docs/guides/from-plain-envoy.md") {
		if s.file != "" {
			save(t, filepath.Join(dir, s.file), s.text)
			continue
		}
		if !strings.Contains(s.text, "grpc-load") {
			if out, err := bash(s.text); err != nil {
				t.Fatalf("%s: %v\n%s", s.text, err, out)
			}
			continue
		}
		eventually(t, 40*time.Second, s.text, func() error {
			out, err := bash(s.text)
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return spread(out, pods)
		})
		pods = 3
	}
}
