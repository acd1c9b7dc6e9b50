package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/capture"
	"github.com/weftmesh/weft/internal/local/network"
	"github.com/weftmesh/weft/internal/local/pod"
)

// Probe finds out how a mesh can run here by doing, once and in namespaces that
// vanish with it, all that a mesh does.
func Probe(ctx context.Context) Verdict {
	mode := chooseMode()
	found, err := probe(ctx, mode)
	if err != nil {
		return Verdict{Cause: err.Error(), Cure: "please report it"}
	}
	if found == nil {
		return Verdict{Mode: mode}
	}
	return blame(*found, look())
}

// probe runs probeMain in namespaces as a mesh has; nil means all went well.
func probe(ctx context.Context, mode Mode) (*finding, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", probeArg)
	cmd.Env = append(os.Environ(), probeModeEnv+"="+string(mode))
	cmd.SysProcAttr = mode.attributes()
	var out strings.Builder
	cmd.Stdout = &out
	if err := newForker().start(cmd); err != nil {
		return findingOf(stepClone, err), nil
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	var found *finding
	if err := json.Unmarshal([]byte(out.String()), &found); err != nil {
		return nil, fmt.Errorf("probe: answer %q: %w", out.String(), err)
	}
	return found, nil
}

func findingOf(s step, err error) *finding {
	f := &finding{Step: s, Text: err.Error(), Sysctl: errors.Is(err, network.ErrSysctl)}
	errors.As(err, &f.Errno)
	return f
}

// probeModeEnv tells the inner process which mode is probed.
const probeModeEnv = "WEFT_LOCAL_PROBE_MODE"

// probeMain is the probe's inner process: it prints the first finding, or null.
func probeMain() {
	var found *finding
	for _, try := range []struct {
		step step
		do   func() error
	}{
		{stepMount, func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{stepProc, pod.Private},
		{stepTmpfs, func() error { return pod.Tmpfs("/tmp", "0755") }},
		{stepBridge, probeBridge},
		{stepNft, func() error {
			return capture.Apply(capture.Options{Proxy: capture.Proxy{Mark: capture.ProxyMark}, DNS: true})
		}},
		{stepMark, probeMark},
		{stepNested, probeNested},
	} {
		if err := try.do(); err != nil {
			found = findingOf(try.step, err)
			break
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(found)
}

// probeBridge makes the mesh's side of the network and one pod's, whose far end
// stays in this namespace.
func probeBridge() error {
	b, err := network.NewBridge()
	if err != nil {
		return err
	}
	return b.Attach(os.Getpid(), []netip.Addr{network.PodV4.Addr().Next().Next()})
}

func probeMark() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(capture.ProxyMark))
}

// probeNested makes the user namespace that an app gets where there is no root.
func probeNested() error {
	if os.Getenv(probeModeEnv) == string(Root) {
		return nil
	}
	cmd := exec.Command("/proc/self/exe", probeNestedArg)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
	}
	return cmd.Run()
}

// look gathers the surroundings of a failure.
func look() surroundings {
	status, _ := os.ReadFile("/proc/self/status") // unreadable: no filter is seen
	return surroundings{
		uid: os.Getuid(), seccomp: strings.Contains(string(status), "Seccomp:\t2"),
		maxUser: setting("user/max_user_namespaces"), maxNet: setting("user/max_net_namespaces"),
		unprivilegedClone: setting("kernel/unprivileged_userns_clone"),
		apparmorRestrict:  setting("kernel/apparmor_restrict_unprivileged_userns"),
	}
}

func setting(path string) int {
	text, err := os.ReadFile("/proc/sys/" + path)
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return -1
	}
	return n
}

// explain adds cause and cure to an error of starting a mesh, if the machine is
// at fault.
func (s *supervisor) explain(ctx context.Context, err error) error {
	var setup *setupError
	if !errors.As(err, &setup) {
		return err
	}
	if v := Probe(context.WithoutCancel(ctx)); v.Err() != nil {
		return fmt.Errorf("%w (%w)", v.Err(), err)
	}
	return err
}
