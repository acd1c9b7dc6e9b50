package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/test/weftcli"
)

// bareGuide is docs/guides/bare-envoy.md: its files, and its commands in order.
type bareGuide struct {
	dir      string
	commands []string
}

// readGuide saves the guide's files to a folder; its ports become free ones.
func readGuide(t *testing.T) bareGuide {
	t.Helper()
	raw, err := os.ReadFile("../../docs/guides/bare-envoy.md")
	if err != nil {
		t.Fatal(err)
	}
	var ports []string
	for _, port := range []string{"9001", "15010", "15014", "8081", "9901"} {
		free, err := weftcli.FreePort(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port, fmt.Sprint(free))
	}
	text := strings.NewReplacer(ports...).Replace(string(raw))
	g := bareGuide{dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(g.dir, "bare"), 0o755); err != nil {
		t.Fatal(err)
	}
	files := regexp.MustCompile("(?s)a file `([^`]+)`.*?```yaml\n(.*?)```").FindAllStringSubmatch(text, -1)
	if len(files) != 2 {
		t.Fatalf("the guide has %d files", len(files))
	}
	for _, file := range files {
		save(t, filepath.Join(g.dir, file[1]), file[2])
	}
	_, block, _ := strings.Cut(text, "```sh\n")
	block, _, _ = strings.Cut(block, "```")
	g.commands = strings.Split(strings.TrimSpace(block), "\n")
	return g
}

// bash is a command of the guide.
func (g bareGuide) bash(t *testing.T, line string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "bash", "-c", line)
	cmd.Dir, cmd.Env = g.dir, append(os.Environ(), "PATH="+g.dir+":"+os.Getenv("PATH"))
	return cmd
}

// The guide works as it is written: each command in its order; of those that
// call, what the text says comes of it.
func TestBareEnvoyGuide(t *testing.T) {
	g := readGuide(t)
	envoy, err := envoybin.Ensure(t.Context(), func(line string) { t.Log(line) })
	if err := errors.Join(err, os.Symlink(envoy, filepath.Join(g.dir, "envoy")), os.Symlink(binaries(t), filepath.Join(g.dir, "bin"))); err != nil {
		t.Fatal(err)
	}
	wants := []string{"x-revision: 1", "x-revision: 2", `"proxy": "door.default"`, "outbound|80||web.default.svc.cluster.local"}
	for _, line := range g.commands {
		if start, background := strings.CutSuffix(line, " &"); background {
			cmd := g.bash(t, "exec "+start)
			cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
			continue
		}
		want := ""
		if strings.HasPrefix(line, "curl") && len(wants) > 0 {
			want, wants = wants[0], wants[1:]
		}
		eventually(t, 20*time.Second, line, func() error {
			if out, err := g.bash(t, line).CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
				return fmt.Errorf("%w: want %q in %.500s", err, want, out)
			}
			return nil
		})
	}
	if len(wants) > 0 {
		t.Errorf("no command shows %q", wants)
	}
	bareTLS(t, g)
}

// bareTLS: what needs a certificate fails, as the guide says.
func bareTLS(t *testing.T, g bareGuide) {
	var call string
	for _, line := range g.commands {
		if strings.HasPrefix(line, "curl -si") {
			call = line
		}
	}
	save(t, filepath.Join(g.dir, "bare", "mutual.yaml"), "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web}\nspec:\n  host: web\n  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}\n")
	eventually(t, 10*time.Second, "without a certificate the call fails", func() error {
		if out, err := g.bash(t, call).CombinedOutput(); err != nil || !strings.Contains(string(out), " 503 ") {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}
