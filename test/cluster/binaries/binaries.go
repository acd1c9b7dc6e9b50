package binaries

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Version is the release of Kubernetes that test/cluster/modules/kube pins; the
// programs are stamped with it.
const Version = "v1.36.3"

// module is one folder of test/cluster/modules and what is built from it.
type module struct {
	name string
	// stamp is what the linker writes into the programs.
	stamp []string
	// programs are package paths by program name.
	programs map[string]string
}

// modules of a cluster. Each is of its own, so that none decides another's
// dependencies, nor those of Weft.
func modules() []module {
	const plugins = "github.com/containernetworking/plugins/plugins/"
	return []module{
		{name: "kube", stamp: versionStamp(), programs: map[string]string{
			"etcd":                    "go.etcd.io/etcd/server/v3",
			"kube-apiserver":          "k8s.io/kubernetes/cmd/kube-apiserver",
			"kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
			"kube-scheduler":          "k8s.io/kubernetes/cmd/kube-scheduler",
			"kube-proxy":              "k8s.io/kubernetes/cmd/kube-proxy",
			"kubelet":                 "k8s.io/kubernetes/cmd/kubelet",
			"kubectl":                 "k8s.io/kubernetes/cmd/kubectl",
		}},
		{name: "cni", programs: map[string]string{
			"bridge":     plugins + "main/bridge",
			"loopback":   plugins + "main/loopback",
			"host-local": plugins + "ipam/host-local",
			"portmap":    plugins + "meta/portmap",
		}},
		{name: "coredns", programs: map[string]string{"coredns": "."}},
		{name: "metallb", programs: map[string]string{
			"metallb-controller": "go.universe.tf/metallb/controller",
			"metallb-speaker":    "go.universe.tf/metallb/speaker",
		}},
	}
}

// versionStamp makes the programs call themselves by their version: built from
// a module they would say v0.0.0-master.
func versionStamp() (flags []string) {
	minor := strings.Split(Version, ".")[1]
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, field := range [][2]string{
			{"gitVersion", Version}, {"gitMajor", "1"}, {"gitMinor", minor}, {"gitCommit", "module"},
			{"gitTreeState", "clean"}, {"buildDate", "1970-01-01T00:00:00Z"},
		} {
			flags = append(flags, "-X", pkg+"."+field[0]+"="+field[1])
		}
	}
	return flags
}

// Names of the programs that parts of a cluster need.
var (
	ControlPlane = []string{"etcd", "kube-apiserver"}
	Nodes        = []string{"kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "bridge", "loopback", "host-local", "portmap", "coredns"}
	MetalLB      = []string{"metallb-controller", "metallb-speaker"}
)

// Ensure returns the paths of the named programs, and builds those that are not
// in the cache yet: all of them take about 9 minutes on two cores from nothing.
// Any number of processes may call it at once: one builds, the others wait.
//
// root is the top folder of the repository. progress gets a line for each step
// that takes time; nil means silence. Errors name what failed and what to do.
func Ensure(ctx context.Context, root string, progress func(string), names ...string) (map[string]string, error) {
	if progress == nil {
		progress = func(string) {}
	}
	found, known := map[string]string{}, map[string]bool{}
	for _, m := range modules() {
		var wanted []string
		for name := range m.programs {
			known[name] = true
			if slices.Contains(names, name) {
				wanted = append(wanted, name)
			}
		}
		if len(wanted) == 0 {
			continue
		}
		slices.Sort(wanted)
		dir, err := m.ensure(ctx, filepath.Join(root, "test/cluster/modules", m.name), progress, wanted)
		if err != nil {
			return nil, fmt.Errorf("programs of the test cluster, module %s: %w", m.name, err)
		}
		for _, name := range wanted {
			found[name] = filepath.Join(dir, name)
		}
	}
	for _, name := range names {
		if !known[name] {
			return nil, fmt.Errorf("programs of the test cluster: none is called %s", name)
		}
	}
	return found, nil
}

// ensure builds those of wanted that are missing, and gives their folder.
func (m module) ensure(ctx context.Context, source string, progress func(string), wanted []string) (string, error) {
	dir, err := m.folder(source)
	if err != nil {
		return "", err
	}
	missing := func() []string {
		return slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return isProgram(filepath.Join(dir, name)) })
	}
	if len(missing()) == 0 {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("%w: set XDG_CACHE_HOME to a folder you may write", err)
	}
	unlock, err := lock(ctx, filepath.Join(dir, ".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	for _, name := range missing() { // another process may have built them meanwhile
		progress(fmt.Sprintf("building %s %s, once; it stays in %s", m.name, name, dir))
		start := time.Now()
		if err := m.build(ctx, source, filepath.Join(dir, name)); err != nil {
			return "", err
		}
		progress(fmt.Sprintf("built %s in %v", name, time.Since(start).Round(time.Second)))
	}
	return dir, nil
}

// folder is where the programs of this version of the module's files belong.
func (m module) folder(source string) (string, error) {
	files, err := filepath.Glob(filepath.Join(source, "*"))
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", fmt.Errorf("%s: no files: run this inside the repository", source)
	}
	hash := sha256.New()
	for _, path := range files { // Glob sorts
		content, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n%s", filepath.Base(path), len(content), content)
	}
	fmt.Fprint(hash, m.stamp)
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place to keep programs (%w): set HOME or XDG_CACHE_HOME", err)
	}
	name := m.name + "-" + hex.EncodeToString(hash.Sum(nil))[:12]
	if m.name == "kube" {
		name = Version + "-" + hex.EncodeToString(hash.Sum(nil))[:12]
	}
	return filepath.Join(base, "weft", "kubernetes", name), nil
}

// build makes one program. It appears under its name only when it is whole.
func (m module) build(ctx context.Context, source, dest string) error {
	partial := fmt.Sprintf("%s.%d", dest, os.Getpid())
	defer func() { _ = os.Remove(partial) }()
	flags := strings.Join(append([]string{"-s", "-w"}, m.stamp...), " ")
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", flags, "-o", partial, m.programs[filepath.Base(dest)])
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return os.Rename(partial, dest)
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// lock takes an exclusive advisory lock on the file at path, which it makes
// when absent and leaves there: removing it would let two processes hold two
// locks of one name. The kernel drops the lock of a process that dies.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("another process builds (%s is locked): %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}
