// Package hostile tests on a real cluster what Weft says and does when things
// are wrong: objects that are mistakes, proxies that refuse, pods that want
// another's identity, and an attacker at every port. Everything is done as a
// user does it, by the weft binary and kubectl; it imports test/cluster and of
// the mesh nothing.
package hostile

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/internal/image"
	"github.com/weftmesh/weft/test/cluster"
)

const (
	// patience ends a wait that hangs; no test waits for it when all is well.
	patience = 2 * time.Minute
	version  = "v0.0.0-e2e"
)

// bench is a cluster of two nodes with Weft installed as a user would, in its
// default profile.
type bench struct {
	*testing.T
	cluster  *cluster.Cluster
	client   *kubernetes.Clientset
	kubectl  string
	weft     string
	stranger string // path of the attacker's program on this machine
}

func newBench(t *testing.T) *bench {
	t.Helper()
	cluster.Require(t)
	b := &bench{T: t, kubectl: cluster.Kubectl(t)}
	b.cluster = cluster.New(t, cluster.Options{Nodes: 2, Images: b.images()})
	var err error
	if b.client, err = b.cluster.Clientset(); err != nil {
		t.Fatal(err)
	}
	b.do("install", "-y")
	b.must(b.file("apps.yaml"), "apply", "-f", "-")
	b.must("", "-n", "shop", "wait", "--for=condition=Available", "deployment", "--all", "--timeout=120s")
	b.must("", "-n", "outside", "wait", "--for=condition=Ready", "pod/stranger", "--timeout=120s")
	return b
}

func (b *bench) on(t *testing.T) *bench {
	n := *b
	n.T = t
	return &n
}

// images builds those of this tree and that of the attacker.
func (b *bench) images() []string {
	b.Helper()
	bin, archives := cluster.Images(b, version, "./test/e2e/hostile/stranger")
	b.weft, b.stranger = bin+"/weft", bin+"/stranger"
	archive := b.TempDir() + "/stranger.tar"
	stranger := image.Image{
		Names: []string{"localhost/weft-test/stranger:1"}, Files: map[string]string{"/stranger": b.stranger},
		Entrypoint: []string{"/stranger"}, User: "65532:65532",
	}
	if err := stranger.Write(archive); err != nil {
		b.Fatal(err)
	}
	return append(archives, archive)
}

func (b *bench) file(name string) string {
	b.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

// run calls kubectl; input is what it reads.
func (b *bench) run(input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	return b.cluster.Ask(ctx, b.kubectl, input, args...)
}

func (b *bench) must(input string, args ...string) string {
	b.Helper()
	out, err := b.run(input, args...)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// said is what a command of weft printed, and how it ended.
type said struct {
	code     int
	out, err string
}

func (s said) String() string { return fmt.Sprintf("exit code %d\n%s%s", s.code, s.out, s.err) }

// ask calls weft as a person would; input is what it reads.
func (b *bench) ask(input string, args ...string) said {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.weft, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+b.cluster.Kubeconfig(), "WEFT_MESH=")
	var out, failed bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &failed
	err := cmd.Run()
	if cmd.ProcessState == nil {
		b.Fatalf("weft %s: %v", strings.Join(args, " "), err)
	}
	return said{cmd.ProcessState.ExitCode(), out.String(), failed.String()}
}

// do calls weft, which must succeed.
func (b *bench) do(args ...string) string {
	b.Helper()
	s := b.ask("", args...)
	if s.code != 0 {
		b.Fatalf("weft %s: %v", strings.Join(args, " "), s)
	}
	return s.out
}

// says holds what a command said to its exit code and to what must be in it.
func (b *bench) says(s said, code int, want ...string) {
	b.Helper()
	if s.code != code {
		b.Errorf("want exit code %d: %v", code, s)
	}
	for _, text := range want {
		if !strings.Contains(s.out+s.err, text) {
			b.Errorf("it does not say %q: %v", text, s)
		}
	}
}

// eventually waits for check to give no error.
func (b *bench) eventually(what string, check func() error) {
	b.Helper()
	cluster.Eventually(b, patience, what, check)
}

// asStranger runs the attacker in its pod and reads what it prints.
func (b *bench) asStranger(out any, args ...string) {
	b.Helper()
	text := b.must("", append([]string{"-n", "outside", "exec", "stranger", "--", "/stranger"}, args...)...)
	if err := json.Unmarshal([]byte(text), out); err != nil {
		b.Fatalf("the stranger printed %.300s: %v", text, err)
	}
}

// answered is what a request of the frontend to reviews was answered.
type answered struct {
	Version, Peer, Error string
}

func (b *bench) call(url string) (out answered, err error) {
	text, err := b.run("", "-n", "shop", "exec", "deploy/frontend", "-c", "frontend", "--", "/bin/bookshop", "get", url)
	if err == nil {
		err = json.Unmarshal([]byte(text), &out)
	}
	return out, err
}

// all calls reviews some times and says whether only one version answered.
func (b *bench) all(version string) error {
	for range 6 {
		got, err := b.call("http://reviews/")
		if err != nil {
			return err
		}
		if got.Version != version {
			return fmt.Errorf("%s answered, want %s", got.Version, version)
		}
	}
	return nil
}
