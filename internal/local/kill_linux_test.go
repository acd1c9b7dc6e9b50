package local_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/pod"
)

// crash has pods with children that resist every polite end.
func crash(ctx context.Context, m *local.Mesh) error {
	fmt.Println("meshd")
	for _, name := range []string{"a", "b", "c"} {
		stubborn := app("stubborn", "/bin/sh", "-c", "trap '' TERM HUP INT; setsid sleep 1000079 & while :; do sleep 1000080; done")
		if _, err := m.StartPod(ctx, spec(m, name, stubborn), nil); err != nil {
			return err
		}
		fmt.Println("pod", name)
	}
	l, err := m.Publish(ctx, "127.0.0.1:0", netip.MustParseAddrPort("10.244.0.2:80"))
	if err != nil {
		return err
	}
	fmt.Println("ready", l.Addr())
	<-ctx.Done()
	return nil
}

// TestKilledAtAnyMoment kills the supervisor or meshd while a mesh starts or
// runs, and looks for what is left.
func TestKilledAtAnyMoment(t *testing.T) {
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	mounts := hostState(t)
	forEachUser(t, func(t *testing.T, u user) {
		for i := range 12 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				m, port := start(t, u, "crash", ""), ""
				if i%3 == 0 {
					port = m.await("ready")
				} else {
					moment := time.NewTimer(time.Duration(random.IntN(40)) * time.Millisecond)
					<-moment.C
				}
				m.kill(i%2 == 0)
				m.gone()
				_ = m.cmd.Wait()
				m.released(port)
			})
		}
	})
	if after := hostState(t); after != mounts {
		t.Errorf("the host before:\n%s\nafter:\n%s", mounts, after)
	}
}

// released waits until the names that a mesh holds on the host are free: the
// kernel closes a killed process's files a moment after its memory.
func (r *running) released(port string) {
	r.t.Helper()
	waitUntil(r.t, func() bool {
		out, err := r.user.command(r.t.Context(), "get", r.name, "/v1/mesh").CombinedOutput()
		return err != nil && strings.Contains(string(out), local.ErrNotRunning.Error())
	}, func() string { return "the API socket is still there" })
	if port == "" {
		return
	}
	waitUntil(r.t, func() bool {
		l, err := net.Listen("tcp", port)
		if err == nil {
			l.Close()
		}
		return err == nil
	}, func() string { return "the published port is still taken" })
}

// kill ends, by SIGKILL, the supervisor, or meshd if there is one already.
func (r *running) kill(supervisor bool) {
	r.t.Helper()
	pid := r.cmd.Process.Pid
	if !supervisor {
		pid = cmp.Or(meshdOf(pid), pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		r.t.Fatal(err)
	}
}

// meshdOf is the process ID of a supervisor's meshd, or 0. A supervisor's first
// child is another one: package os tries with it what the kernel can do.
func meshdOf(supervisor int) int {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", supervisor)) // the pattern is well formed
	for _, file := range threads {
		children, _ := os.ReadFile(file) // a thread that is gone has none
		for _, child := range strings.Fields(string(children)) {
			line, _ := os.ReadFile("/proc/" + child + "/cmdline")
			if pid, err := strconv.Atoi(child); err == nil && strings.HasPrefix(string(line), "weft-meshd ") {
				return pid
			}
		}
	}
	return 0
}

// hostState is what a mesh must not change: mounts, interfaces, routing.
func hostState(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, file := range []string{"/proc/self/mounts", "/proc/net/route", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		text, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		all.Write(text)
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		fmt.Fprintln(&all, l.Name)
	}
	return all.String()
}

// TestPodInitKilled: it takes its own pod along and no other.
func TestPodInitKilled(t *testing.T) {
	forEachUser(t, func(t *testing.T, u user) {
		m := start(t, u, "podkill", "")
		m.await("ok")
		m.end()
	})
}

func podKill(ctx context.Context, m *local.Mesh) error {
	var pods []*pod.Pod
	for _, name := range []string{"a", "b"} {
		p, err := m.StartPod(ctx, spec(m, name, app("sh", "/bin/sh", "-c", "trap '' TERM; setsid sleep 1000081 & echo up; sleep 1000082")), nil)
		if err != nil {
			return err
		}
		if err := until(ctx, p.Log("sh"), "up"); err != nil {
			return err
		}
		pods = append(pods, p)
	}
	pods[0].Kill()
	<-pods[0].Done()
	if err := pods[0].Err(); err == nil || !strings.Contains(err.Error(), "killed") {
		return fmt.Errorf("a killed pod's error: %v", err)
	}
	if _, err := run(ctx, pods[1], "true"); err != nil {
		return fmt.Errorf("the other pod: %w", err)
	}
	again, err := m.StartPod(ctx, spec(m, "a", app("sleep", "/bin/sleep", "infinity")), nil)
	if err != nil {
		return fmt.Errorf("the name of a pod that is gone: %w", err)
	}
	fmt.Println("ok")
	return errors.Join(again.Stop(ctx, patience), pods[1].Stop(ctx, 0))
}
