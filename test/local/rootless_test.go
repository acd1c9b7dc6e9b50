package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/samples/bookshop/shop"
)

// nobody is a user without any rights.
const nobody = 65534

// stranger is a user who has but a home and a copy of Weft.
type stranger struct {
	root, home string
	env        []string
	attr       *syscall.SysProcAttr // nil: whoever runs the test, where that is not root
}

// newStranger copies the binaries and the sample to where that user can read.
func newStranger(t *testing.T) *stranger {
	t.Helper()
	root, err := os.MkdirTemp("", "weft-rootless-") //nolint:usetesting // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	u := &stranger{root: root, home: filepath.Join(root, "home")}
	for _, dir := range []string{root, filepath.Join(root, "bin"), filepath.Join(root, "mesh"), u.home} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getuid() == 0 {
		u.attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if err := os.Chown(u.home, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	envoy, err := envoybin.Ensure(t.Context(), func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	u.env = []string{"HOME=" + u.home, "TMPDIR=" + u.home, "PATH=/usr/bin:/bin", envoybin.EnvVar + "=" + filepath.Join(root, "bin", "envoy")}
	place(t, envoy, filepath.Join(root, "bin", "envoy"))
	for _, name := range []string{"weft", "agent", "pilot", "ca", "bookshop"} {
		place(t, filepath.Join(binaries(t), name), filepath.Join(root, "bin", name))
	}
	for _, name := range []string{"mesh.yaml", "route.yaml"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		save(t, filepath.Join(root, "mesh", name), strings.ReplaceAll(string(text), "BIN", filepath.Join(root, "bin")))
	}
	return u
}

// place makes a program readable at another path: as a link where it can be.
func place(t *testing.T, from, to string) {
	t.Helper()
	if info, err := os.Stat(from); err == nil && info.Mode()&0o005 == 0o005 && os.Link(from, to) == nil {
		return
	}
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Chmod(0o755), out.Close()); err != nil {
		t.Fatal(err)
	}
}

// weft runs the user's weft and gives all that it printed.
func (u *stranger) weft(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(u.root, "bin", "weft"), args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = u.home, u.env, u.attr
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A user without rights has the whole mesh, from up to down, and nothing of it
// is left. Where the kernel forbids user namespaces this fails, and says so.
func TestRootless(t *testing.T) {
	u := newStranger(t)
	m := &running{Mesh: upMesh(t, filepath.Join(u.root, "mesh"))}
	m.Binary = filepath.Join(u.root, "bin", "weft")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	m.url = "http://" + address + "/"
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = u.weft(context.Background(), "down", "--name", m.Name) })
	out, err := u.weft(t.Context(), "up", m.Dir, "-d", "--name", m.Name, "--publish", "80="+address)
	if err != nil || !strings.Contains(out, "in mode rootless") {
		t.Fatalf("weft up as user %d: %v\n%s", nobody, err, out)
	}
	pids := m.pids(t)
	for _, pid := range pids {
		if info, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil && os.Getuid() == 0 && info.Sys().(*syscall.Stat_t).Uid == 0 {
			t.Errorf("process %d runs as root", pid)
		}
	}
	t.Run("ps", func(t *testing.T) { rootlessStatus(t, u, m) })
	t.Run("identity", func(t *testing.T) { rootlessCall(t, m) })
	t.Run("exec", func(t *testing.T) { rootlessExec(t, u, m) })
	t.Run("process", func(t *testing.T) { rootlessProcess(t, u, m) })
	if out, err := u.weft(t.Context(), "down", "--name", m.Name); err != nil {
		t.Fatalf("weft down: %v\n%s", err, out)
	}
	eventually(t, 10*time.Second, "all processes are gone", func() error { return anyAlive(pids) })
	if left, err := os.ReadDir(u.home); err != nil || len(left) != 0 {
		t.Errorf("the user's home holds %v (%v)", left, err)
	}
	if listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", address); err != nil {
		t.Fatalf("the gateway's port is still taken: %v", err)
	}
	_ = listener.Close()
}

func rootlessStatus(t *testing.T, u *stranger, m *running) {
	out, err := u.weft(t.Context(), "ps", "--name", m.Name, "-o", "json")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var st struct {
		Mode string `json:"mode"`
		Pods []struct {
			Name, Synced string
			Ready        bool
		} `json:"pods"`
	}
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode != "rootless" || len(st.Pods) < 6 {
		t.Errorf("mode %q, %d pods", st.Mode, len(st.Pods))
	}
	for _, p := range st.Pods {
		if !p.Ready || p.Synced == "no" {
			t.Errorf("pod %s: ready %v, synced %q", p.Name, p.Ready, p.Synced)
		}
	}
}

// rootlessCall: gateway and sidecars prove who they are to each other.
func rootlessCall(t *testing.T, m *running) {
	status, _, body := m.get(t, "/")
	var page shop.Answer
	if err := json.Unmarshal([]byte(body), &page); err != nil || status != 200 {
		t.Fatalf("%d, %v: %s", status, err, body)
	}
	want := []string{"spiffe://cluster.local/ns/weft-system/sa/istio-ingressgateway", "spiffe://cluster.local/ns/default/sa/front"}
	page.Each(func(a shop.Answer) {
		want = slices.DeleteFunc(want, func(uri string) bool { return strings.Contains(a.Peer, "URI="+uri) })
	})
	if len(want) > 0 {
		t.Errorf("nobody saw %v: %s", want, body)
	}
}

func rootlessExec(t *testing.T, u *stranger, m *running) {
	out, err := u.weft(t.Context(), "exec", "--name", m.Name, "front", "--", "/bin/sh", "-c", "id -u; pwd; exit 7")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Fatalf("%v, want exit code 7: %s", err, out)
	}
	uid := os.Getuid()
	if uid == 0 {
		uid = nobody
	}
	if want := fmt.Sprintf("%d\n%s\n", uid, m.Dir); out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
}
