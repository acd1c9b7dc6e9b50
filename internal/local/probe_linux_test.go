package local_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/local"
)

func TestProbe(t *testing.T) {
	for _, u := range users() {
		v := verdict(t, u.command(t.Context(), "probe"))
		if string(v.Mode) != u.name || v.Err() != nil {
			t.Errorf("%s: %+v", u.name, v)
		}
	}
}

// TestProbeRefused makes machines on which no mesh can run.
func TestProbeRefused(t *testing.T) {
	for _, c := range []struct {
		how, cause, cure string
		root             bool // the machine can be made by root only
	}{
		{"without network namespaces", "user.max_net_namespaces=0", "sysctl user.max_net_namespaces", false},
		{"without user namespaces", "user.max_user_namespaces=0", "sysctl user.max_user_namespaces", false},
		{"masked proc", "/proc are masked", "systempaths=unconfined", true},
	} {
		t.Run(c.how, func(t *testing.T) {
			if c.root && os.Getuid() != 0 {
				t.Log("not root: this machine cannot be made")
				return
			}
			cmd := exec.Command("/proc/self/exe", "refuse", c.how)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
			if !c.root {
				cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
				cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
				cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
			}
			v := verdict(t, cmd)
			if v.Mode != "" || !strings.Contains(v.Cause, c.cause) || !strings.Contains(v.Cure, c.cure) {
				t.Errorf("%+v; want cause %q, cure %q", v, c.cause, c.cure)
			}
			if err := v.Err(); err == nil || !strings.Contains(err.Error(), c.cure) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// refuse makes such a machine, inside of namespaces, and probes.
func refuse(args []string) error {
	probe := exec.Command("/proc/self/exe", "probe")
	probe.Stdout, probe.Stderr = os.Stdout, os.Stderr
	switch args[0] {
	case "without network namespaces":
		return firstOf(os.WriteFile("/proc/sys/user/max_net_namespaces", []byte("0"), 0), probe.Run)
	case "without user namespaces":
		return firstOf(os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0), probe.Run)
	case "masked proc":
		probe.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		return firstOf(unix.Mount("/dev/null", "/proc/timer_list", "", unix.MS_BIND, ""), probe.Run)
	}
	return fmt.Errorf("unknown machine %q", args[0])
}

func firstOf(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}

func verdict(t *testing.T, cmd *exec.Cmd) (v local.Verdict) {
	t.Helper()
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return v
}
