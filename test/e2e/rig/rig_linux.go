package rig

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/install"
	"github.com/weftmesh/weft/internal/image"
	"github.com/weftmesh/weft/test/cluster"
)

// Patience ends a wait that hangs; no test waits for it when all is well.
const Patience = 2 * time.Minute

// Version is that of the binaries and images of a test.
const Version = "v0.0.0-e2e"

// Rig is a cluster of two nodes, for one test or a part of it.
type Rig struct {
	*testing.T
	*cluster.Cluster
	API         *kubernetes.Clientset
	Bin         string // folder of this tree's programs, and the test's own
	KubectlPath string // for commands that run on while the test does other things
}

// Program is one of the test's own: package ./FOLDER/NAME gives the image
// localhost/weft-test/NAME:1, whose /NAME runs with Args.
type Program struct {
	Package string
	Args    []string
}

// New builds everything and brings the cluster up; nothing is installed in it.
func New(t *testing.T, programs ...Program) *Rig {
	t.Helper()
	cluster.Require(t)
	var packages []string
	for _, p := range programs {
		packages = append(packages, p.Package)
	}
	bin, archives := cluster.Images(t, Version, packages...)
	for _, p := range programs {
		archives = append(archives, p.archive(t, bin))
	}
	r := &Rig{T: t, Bin: bin, KubectlPath: cluster.Kubectl(t), Cluster: cluster.New(t, cluster.Options{Nodes: 2, Images: archives})}
	var err error
	if r.API, err = r.Clientset(); err != nil {
		t.Fatal(err)
	}
	return r
}

func (p Program) archive(t *testing.T, bin string) string {
	t.Helper()
	name := filepath.Base(p.Package)
	archive := filepath.Join(t.TempDir(), name+".tar")
	made := image.Image{
		Names: []string{"localhost/weft-test/" + name + ":1"}, Files: map[string]string{"/" + name: filepath.Join(bin, name)},
		Entrypoint: []string{"/" + name}, Command: p.Args, User: "65532:65532",
	}
	if err := made.Write(archive); err != nil {
		t.Fatal(err)
	}
	return archive
}

// On is the same rig in a subtest.
func (r *Rig) On(t *testing.T) *Rig {
	n := *r
	n.T = t
	return &n
}

// Lean are the values of an install with one replica of each component.
var Lean = []string{"pilot.replicas=1", "ca.replicas=1", "injector.replicas=1"}

// Install is `weft install -f - --set ...`, or the change of what is installed.
func (r *Rig) Install(file string, sets ...string) {
	r.Helper()
	in := install.Inputs{Files: []string{"-"}, Stdin: strings.NewReader(file), Sets: append([]string{"tag=" + Version}, sets...)}
	values, err := in.Values()
	if err != nil {
		r.Fatal(err)
	}
	manifest, err := install.Render(install.Release{Version: Version, Values: values})
	if err != nil {
		r.Fatal(err)
	}
	to, err := install.NewCluster(r.RESTConfig())
	if err == nil {
		_, err = to.Install(r.Context(), manifest, install.Options{Wait: Patience, Say: r.Logf})
	}
	if err != nil {
		r.Fatal(err)
	}
}

// Kubectl calls kubectl; input is what it reads.
func (r *Rig) Kubectl(input string, args ...string) (string, error) {
	// kubectl takes what begins with a brace for JSON.
	s := r.call("---\n"+input, r.KubectlPath, args...)
	if s.Code != 0 {
		return s.Out, fmt.Errorf("kubectl %s: %v", strings.Join(args, " "), s)
	}
	return s.Out, nil
}

// Must is Kubectl of what must succeed.
func (r *Rig) Must(input string, args ...string) string {
	r.Helper()
	out, err := r.Kubectl(input, args...)
	if err != nil {
		r.Fatal(err)
	}
	return out
}

// Printed runs a program in a pod that always prints, and may run twice; args are
// what follows `kubectl exec`. kubectl may lose all that was printed and call that
// a success (github.com/kubernetes/kubernetes/issues/124571): it is asked again.
func (r *Rig) Printed(args ...string) (text string, err error) {
	for range 3 {
		text, err = r.Kubectl("", append([]string{"exec"}, args...)...)
		if err != nil || text != "" {
			return text, err
		}
	}
	return "", fmt.Errorf("kubectl exec %s: it printed nothing, three times", strings.Join(args, " "))
}

// Weft calls the weft program; input is what it reads.
func (r *Rig) Weft(input string, args ...string) Said {
	return r.call(input, filepath.Join(r.Bin, "weft"), args...)
}

// MustWeft is Weft of what must succeed.
func (r *Rig) MustWeft(input string, args ...string) string {
	r.Helper()
	s := r.Weft(input, args...)
	if s.Code != 0 {
		r.Fatalf("weft %s: %v", strings.Join(args, " "), s)
	}
	return s.Out
}

// Said is how a program ended and what it printed.
type Said struct {
	Code     int // -1: it could not run, or was ended
	Out, Err string
}

// All is what it printed on both ways.
func (s Said) All() string { return s.Out + s.Err }

// String gives all of it.
func (s Said) String() string { return fmt.Sprintf("exit code %d\n%s", s.Code, s.All()) }

func (r *Rig) call(input, program string, args ...string) Said {
	ctx, cancel := context.WithTimeout(r.Context(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+r.Kubeconfig(), "WEFT_MESH=-")
	var out, failed bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &failed
	if err := cmd.Run(); cmd.ProcessState == nil {
		return Said{Code: -1, Err: err.Error()}
	}
	return Said{cmd.ProcessState.ExitCode(), out.String(), failed.String()}
}

// Eventually waits for check to give no error.
func (r *Rig) Eventually(what string, check func() error) {
	r.Helper()
	cluster.Eventually(r.T, Patience, what, check)
}
