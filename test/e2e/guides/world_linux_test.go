package guides

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/samples/bookshop/load"
	"github.com/weftmesh/weft/test/cluster"
	"github.com/weftmesh/weft/test/guide"
	"github.com/weftmesh/weft/test/weftcli"
)

var update = flag.Bool("update", false, "write what commands print into the guides")

// patience ends a wait that hangs; no test waits for it when all is well.
const patience = 2 * time.Minute

// versions: the one that is installed, and those that it is upgraded to.
var versions = []string{"v0.1.0", "v0.2.0", "v0.3.0"}

// world is a cluster with the images of two versions of this tree, and a folder
// with what the guides take for granted: bin/ on the PATH, samples/, kubectl.
type world struct {
	*testing.T
	*cluster.Cluster
	dir  string
	weft map[string]string // path of each version's
	port string            // free, for 8080 of the guides

	kubeconfig string // of who follows a guide; "": the administrator's
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cluster.Require(t)
	bin, archives := cluster.Images(t, versions[0])
	w := &world{T: t, dir: t.TempDir(), weft: map[string]string{versions[0]: filepath.Join(bin, "weft")}}
	w.Cluster = cluster.New(t, cluster.Options{Nodes: 2, Images: archives})
	for _, version := range versions[1:] {
		w.weft[version] = w.Release(t, versions[0], version)
	}
	port, err := weftcli.FreePort(t.Context())
	if err == nil {
		err = os.CopyFS(filepath.Join(w.dir, "samples"), os.DirFS("../../../samples"))
	}
	if err == nil {
		err = os.Mkdir(filepath.Join(w.dir, "tools"), 0o755)
	}
	if err == nil {
		err = os.Symlink(cluster.Kubectl(t), filepath.Join(w.dir, "tools", "kubectl"))
	}
	if err == nil {
		err = os.Symlink(bin, filepath.Join(w.dir, "bin"))
	}
	if err != nil {
		t.Fatal(err)
	}
	w.port = fmt.Sprint(port)
	w.fetch(versions[0])
	return w
}

func (w *world) on(t *testing.T) *world {
	n := *w
	n.T = t
	return &n
}

// fetch puts the weft of a version on the PATH.
func (w *world) fetch(version string) {
	w.Helper()
	link := filepath.Join(w.dir, "tools", "weft")
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		w.Fatal(err)
	}
	if err := os.Symlink(w.weft[version], link); err != nil {
		w.Fatal(err)
	}
}

// bash runs commands in the folder and gives what they printed. What they leave
// in the background ends with the test.
func (w *world) bash(commands string) (string, error) {
	printed, err := os.CreateTemp(w.dir, "printed")
	if err != nil {
		return "", err
	}
	defer func() { _ = printed.Close() }()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", strings.ReplaceAll(commands, "8080", w.port))
	cmd.Dir, cmd.Stdout, cmd.Stderr = w.dir, printed, printed
	cmd.Env = append(os.Environ(), "KUBECONFIG="+cmp.Or(w.kubeconfig, w.Kubeconfig()), "WEFT_MESH=-", "PATH="+filepath.Join(w.dir, "tools")+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	if err == nil {
		if group := -cmd.Process.Pid; strings.Contains(commands, " &\n") {
			w.Cleanup(func() { _ = syscall.Kill(group, syscall.SIGKILL) })
		}
		err = cmd.Wait()
	}
	text, readErr := os.ReadFile(printed.Name())
	out := strings.ReplaceAll(string(text), w.port, "8080")
	if err = errors.Join(err, readErr); err != nil {
		return out, fmt.Errorf("%w\n%s\n%s", err, commands, out)
	}
	return out, nil
}

// readGuide reads one of docs/guides; commands are the blocks that are run.
func readGuide(t *testing.T, name, commands string) *guide.Guide {
	t.Helper()
	g, err := guide.Read(filepath.Join("../../../docs/guides", name), commands)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// seen says what must hold of the output of commands that contain a text, beside
// what the guide quotes.
type seen map[string]func(out string) error

// follow does what a guide says under the headings that begin with one of those
// given; none: all.
func (w *world) follow(g *guide.Guide, want seen, headings ...string) {
	w.Helper()
	for n, b := range g.Blocks {
		if !under(b.Heading, headings) {
			continue
		}
		if b.File != "" {
			if err := os.WriteFile(filepath.Join(w.dir, b.File), []byte(b.Text), 0o644); err != nil {
				w.Fatal(err)
			}
			continue
		}
		w.commands(g, n, want)
	}
}

func under(heading string, all []string) bool {
	for _, h := range all {
		if strings.HasPrefix(heading, h) {
			return true
		}
	}
	return len(all) == 0
}

// changing are commands that are not given twice to see whether they print
// something else then.
var changing = []string{"install", "upgrade", "kubectl create", "kubectl delete", "kubectl apply", "rollout restart", "port-forward", "ca rotate"}

// commands runs a block; where it only looks, until it prints what it should.
func (w *world) commands(g *guide.Guide, n int, want seen) {
	w.Helper()
	b := g.Blocks[n]
	w.Logf("%s\n%s", filepath.Base(g.Path), b.Text)
	run := func() error {
		out, err := w.bash(b.Text)
		for of, check := range want {
			if err == nil && strings.Contains(b.Text, of) {
				err = check(out)
			}
		}
		switch {
		case err != nil || b.Prints == "":
			return err
		case *update:
			if guide.Compare(b.Prints, out) == nil {
				return nil
			}
			return g.Put(n, out)
		}
		return guide.Compare(b.Prints, out)
	}
	for _, c := range changing {
		if strings.Contains(b.Text, c) {
			if err := run(); err != nil {
				w.Fatal(err)
			}
			return
		}
	}
	cluster.Eventually(w.T, patience, b.Text, run)
}

// report reads the JSON at the end of what commands print.
func report(out string, into any) error {
	text := out[max(0, strings.Index(out, "{\n")):]
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// share says whether v1 got about so many of a hundred of a load report's
// requests, and none failed.
func share(service string, percent int) func(string) error {
	return func(out string) error {
		var r load.Report
		if err := report(out, &r); err != nil {
			return err
		}
		if r.Failed > 0 || r.Services[service] == nil {
			return fmt.Errorf("%d failed: %s", r.Failed, out)
		}
		// 7 % is over five standard deviations of 500 requests or more.
		if got := 100 * r.Services[service].ByVersion["v1"] / r.Total; got < percent-7 || got > percent+7 {
			return fmt.Errorf("v1 got %d %%, want about %d: %s", got, percent, out)
		}
		return nil
	}
}

// halves says whether two versions have about half of the requests each, all well.
func halves(out string) error {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 {
		return fmt.Errorf("want two versions: %s", out)
	}
	for _, line := range lines[1:] {
		cells := strings.Fields(line) // NAMESPACE NAME TO VERSION SHARE SUCCESS ...
		if len(cells) < 6 || cells[5] != "100%" {
			return fmt.Errorf("not all is well: %s", out)
		}
		// 20 % is over five standard deviations of 200 requests or more.
		if share, err := strconv.ParseFloat(strings.TrimSuffix(cells[4], "%"), 64); err != nil || share < 30 || share > 70 {
			return fmt.Errorf("a share of %s: %s", cells[4], out)
		}
	}
	return nil
}

// spread says whether the calls of one connection were answered by so many
// pods, each with its share.
func spread(pods int) func(string) error {
	return func(out string) error {
		var r load.GRPCReport
		if err := report(out, &r); err != nil {
			return err
		}
		if r.Failed != 0 || r.Connections != 1 || len(r.ByPod) != pods {
			return fmt.Errorf("%+v, want %d pods over one connection and no failure", r, pods)
		}
		for pod, n := range r.ByPod {
			if n < r.Total/pods/2 {
				return fmt.Errorf("%s answered %d of %d", pod, n, r.Total)
			}
		}
		return nil
	}
}
