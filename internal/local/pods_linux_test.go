package local_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/capture"
	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/pod"
)

// serve is a web server that says where it is reached and who calls.
func serve(addresses []string) error {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		host, _ := os.Hostname()
		fmt.Fprintf(w, "%s %s from %s", host, r.Context().Value(http.LocalAddrContextKey), r.RemoteAddr)
	})
	failed := make(chan error)
	for _, a := range addresses {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return err
		}
		go func() { failed <- http.Serve(l, nil) }()
	}
	fmt.Println("listening")
	return <-failed
}

func TestNamesAndAddresses(t *testing.T) { runScenario(t, "names") }

// names: a pod is reached by IPv4, IPv6 and over its loopback, and has files of
// its own.
func names(ctx context.Context, m *local.Mesh) error {
	s := spec(m, "web", me("web", "serve", ":80"))
	s.Hostname = "web-1"
	s.Hosts = []pod.HostEntry{{IP: netip.MustParseAddr("10.96.1.2"), Names: []string{"reviews", "reviews.default"}}}
	s.DNS = pod.DNS{Nameservers: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, Search: []string{"default.svc.cluster.local"}, Options: []string{"ndots:5"}}
	s.Files = []pod.File{{Path: "certs/root.pem", Data: []byte("root")}}
	p, err := m.StartPod(ctx, s, nil)
	if err != nil {
		return err
	}
	if err := until(ctx, p.Log("web"), "listening"); err != nil {
		return err
	}
	for _, a := range s.Addresses {
		url := "http://" + net.JoinHostPort(a.String(), "80")
		if body, err := get(ctx, http.DefaultClient, url); err != nil || !strings.HasPrefix(body, "web-1 "+strings.TrimPrefix(url, "http://")) {
			return fmt.Errorf("%s: %q, %v", url, body, err)
		}
	}
	if body, err := get(ctx, p.HTTPClient(), "http://127.0.0.1/"); err != nil || !strings.Contains(body, "from 127.0.0.1") {
		return fmt.Errorf("loopback: %q, %v", body, err)
	}
	for script, want := range map[string]string{
		"getent hosts reviews":                         "10.96.1.2 reviews reviews.default",
		"getent hosts web-1":                           s.Addresses[len(s.Addresses)-1].String() + " web-1",
		"cat /etc/resolv.conf":                         "nameserver 10.96.0.10 search default.svc.cluster.local options ndots:5",
		"cat /etc/hostname":                            "web-1",
		"uname -n":                                     "web-1",
		"grep hosts: /etc/nss*":                        "hosts: files dns",
		"cat " + m.RunDir() + "/certs/root.pem":        "root",
		"ls -d /proc/[0-9]* | wc -l | tr '345678' 3":   "3",
		"ls " + strings.TrimSuffix(m.RunDir(), "weft"): "weft",
	} {
		out, err := run(ctx, p, script)
		if got := strings.Join(strings.Fields(out), " "); err != nil || got != want {
			return fmt.Errorf("%s: %q, want %q; %v", script, got, want, err)
		}
	}
	return p.Stop(ctx, time.Minute)
}

// grab tries what an app must not be able to do in its pod, and fails if any of it works.
func grab(args []string) error {
	attempts := map[string]error{
		"remove the capture": capture.Remove(),
		"set the mark":       setMark(),
		"mount":              unix.Mount("tmpfs", "/tmp", "tmpfs", 0, ""),
		"name the host":      unix.Sethostname([]byte("x")),
		"write a sysctl":     os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("1024"), 0),
	}
	var worked []error
	for what, err := range attempts {
		if err == nil {
			worked = append(worked, fmt.Errorf("the app could %s", what))
		}
	}
	if _, err := os.ReadFile(args[0]); err == nil && args[1] == "root" && os.Getuid() != 0 {
		worked = append(worked, errors.New("the app could read the proxy's token"))
	}
	if l, err := net.Listen("tcp", ":80"); err != nil {
		worked = append(worked, fmt.Errorf("the app could not open port 80: %w", err))
	} else {
		l.Close()
	}
	return errors.Join(worked...)
}

func setMark() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil // counted as a failure of the test
	}
	defer unix.Close(fd)
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(capture.ProxyMark))
}

func TestRightsOfApps(t *testing.T) { runScenario(t, "rights") }

// rights: an app has none over its pod, whoever it runs as.
func rights(ctx context.Context, m *local.Mesh) error {
	as := map[string]*pod.User{"default": nil}
	if m.Mode() == local.Root {
		as["zero"], as["some"] = &pod.User{}, &pod.User{UID: 12345, GID: 23456, Groups: []uint32{7}}
	}
	for name, user := range as {
		p := me("grab", "grab", m.RunDir()+"/token", string(m.Mode()))
		p.Argv[0], p.User, p.Restart.Policy = "/proc/self/exe", user, pod.Never
		s := spec(m, name, p, app("idle", "/bin/sleep", "infinity"))
		s.Processes[1].User = user
		s.Capture = &capture.Options{DNS: true}
		s.Files = []pod.File{{Path: "token", Data: []byte("secret"), ProxyOnly: true}}
		ended := make(chan pod.Event, 1)
		made, err := m.StartPod(ctx, s, func(e pod.Event) {
			if e.Process == "grab" && e.Kind != pod.Started {
				ended <- e
			}
		})
		if err != nil {
			return err
		}
		if e := <-ended; e.Kind != pod.Exited || e.Code != 0 {
			return fmt.Errorf("user %s: %+v: %s", name, e, made.Log("grab").Tail(pod.Part{Lines: -1}))
		}
		want := m.User()
		if user != nil {
			want = *user
		}
		out, err := runAs(ctx, made, pod.ExecRequest{Argv: []string{"/bin/sh", "-c", "id -u; id -g; grep CapEff /proc/self/status"}, As: "idle"})
		if err != nil || !strings.HasPrefix(out, fmt.Sprintf("%d\n%d\n", want.UID, want.GID)) {
			return fmt.Errorf("user %s: id: %q, %v", name, out, err)
		}
		if err := bounded(ctx, m, made); err != nil {
			return fmt.Errorf("user %s: %w", name, err)
		}
		if err := made.Stop(ctx, time.Minute); err != nil {
			return err
		}
	}
	return foreignUser(ctx, m)
}

// bounded: with root, no program of the pod, sudo neither, gets more than appCaps.
func bounded(ctx context.Context, m *local.Mesh, p *pod.Pod) error {
	if m.Mode() != local.Root {
		return nil // the user namespace is the bound
	}
	out, err := runAs(ctx, p, pod.ExecRequest{Argv: []string{"/bin/grep", "CapBnd", "/proc/self/status"}, As: "idle"})
	if err != nil {
		return err
	}
	var caps uint64
	if _, err := fmt.Sscanf(out, "CapBnd: %x", &caps); err != nil {
		return fmt.Errorf("%q: %w", out, err)
	}
	for _, c := range []int{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE, unix.CAP_SYS_MODULE} {
		if caps&(1<<c) != 0 {
			return fmt.Errorf("capability %d is within reach: %s", c, out)
		}
	}
	return nil
}

// foreignUser: without root, no other user is possible, and the event says so.
func foreignUser(ctx context.Context, m *local.Mesh) error {
	if m.Mode() == local.Root {
		return nil
	}
	p := app("x", "/bin/true")
	p.User, p.Restart.Policy = &pod.User{UID: 1}, pod.Never
	failed := make(chan pod.Event, 1)
	made, err := m.StartPod(ctx, spec(m, "foreign", p), func(e pod.Event) { failed <- e })
	if err != nil {
		return err
	}
	if e := <-failed; e.Kind != pod.Failed || !strings.Contains(e.Error, "without root") {
		return fmt.Errorf("foreign user: %+v", e)
	}
	return made.Stop(ctx, 0)
}

func TestRestarts(t *testing.T) { runScenario(t, "restarts") }

// restarts: policies, back-off, a program that is not there, held processes.
func restarts(ctx context.Context, m *local.Mesh) error {
	always, failing, never, missing, held := app("always", "/bin/true"), app("failing", "/bin/false"), app("never", "/bin/false"), app("missing", "no-such-program"), app("held", "/bin/sleep", "infinity")
	always.Restart = pod.Restart{Min: time.Millisecond, Max: 4 * time.Millisecond}
	failing.Restart = pod.Restart{Policy: pod.OnFailure, Min: time.Millisecond, Max: 4 * time.Millisecond}
	never.Restart.Policy, missing.Restart.Policy = pod.Never, pod.Never
	held.Hold = true
	events := make(chan pod.Event, 1000)
	p, err := m.StartPod(ctx, spec(m, "p", always, failing, never, missing, held), func(e pod.Event) { events <- e })
	if err != nil {
		return err
	}
	var delays []time.Duration
	seen := map[string]int{}
	for seen["alwaysStarted"] < 5 || seen["failingStarted"] < 5 || seen["neverExited"] < 1 || seen["missingFailed"] < 1 {
		e := <-events
		seen[e.Process+string(e.Kind)]++
		if e.Process == "always" && e.Kind == pod.BackOff {
			delays = append(delays, e.Delay/time.Millisecond)
		}
		if e.Process == "missing" && !strings.Contains(e.Error, `no-such-program: not found in PATH`) {
			return fmt.Errorf("missing program: %+v", e)
		}
	}
	if got := fmt.Sprint(delays[:4]); got != "[1ns 2ns 4ns 4ns]" {
		return fmt.Errorf("back-off: %v", got)
	}
	if seen["neverStarted"] != 1 || seen["heldStarted"] != 0 {
		return fmt.Errorf("started what must not be: %v", seen)
	}
	if err := p.Release("held"); err != nil {
		return err
	}
	first := await(events, "held", pod.Started)
	if err := p.Restart("held", time.Minute); err != nil {
		return err
	}
	ended, again := await(events, "held", pod.Exited), await(events, "held", pod.Started)
	if ended.Signal != syscall.SIGTERM || again.Restarts != 1 || again.PID == first.PID {
		return fmt.Errorf("restart: %+v %+v", ended, again)
	}
	if err := p.Signal("nobody", syscall.SIGTERM); err == nil || !strings.Contains(err.Error(), `"nobody"`) {
		return fmt.Errorf("signal to an unknown process: %v", err)
	}
	return p.Stop(ctx, time.Minute)
}

func await(events <-chan pod.Event, process string, kind pod.EventKind) pod.Event {
	for e := range events {
		if e.Process == process && e.Kind == kind {
			return e
		}
	}
	return pod.Event{}
}

// child starts a program and says its pid. It stands for an agent with its Envoy.
func child(args []string) error {
	cmd := exec.Command(args[0], args[1:]...)
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Println("child", cmd.Process.Pid)
	return cmd.Wait()
}

func TestOrphans(t *testing.T) { runScenario(t, "orphan") }

// orphan: Envoy lives on when its agent dies; an app's child does not.
func orphan(ctx context.Context, m *local.Mesh) error {
	for _, proxy := range []bool{true, false} {
		agent := me("agent", "child", "/bin/sleep", "infinity")
		agent.Proxy, agent.Restart.Policy = proxy, pod.Never
		ended := make(chan pod.Event, 8)
		p, err := m.StartPod(ctx, spec(m, fmt.Sprint("p", proxy), app("sleep", "/bin/sleep", "infinity"), agent), func(e pod.Event) {
			if e.Process == "agent" && e.Kind == pod.Exited {
				ended <- e
			}
		})
		if err != nil {
			return err
		}
		if err := until(ctx, p.Log("agent"), "\n"); err != nil {
			return err
		}
		var pid int
		if _, err := fmt.Sscanf(string(p.Log("agent").Tail(pod.Part{Lines: -1})), "child %d", &pid); err != nil {
			return err
		}
		if err := p.Signal("agent", syscall.SIGKILL); err != nil {
			return err
		}
		<-ended
		// An app's child was killed with it, and is there no more when it was reaped.
		script := fmt.Sprintf("while grep -q sleep /proc/%d/comm 2>/dev/null; do sleep 0.01; done", pid)
		if proxy {
			script = fmt.Sprintf("grep PPid:.1$ /proc/%d/status && grep sleep /proc/%d/comm", pid, pid)
		}
		if _, err := run(ctx, p, script); err != nil {
			return fmt.Errorf("the child of a process with Proxy %v: %w", proxy, err)
		}
		if err := p.Stop(ctx, time.Minute); err != nil {
			return err
		}
	}
	return nil
}

func TestStopOrder(t *testing.T) { runScenario(t, "order") }

// order: the proxy hears of the stop first and goes last; who does not go is killed.
func order(ctx context.Context, m *local.Mesh) error {
	script := func(name, text string) pod.Process { return app(name, "/bin/sh", "-c", text) }
	polite := script("polite", "trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done")
	stubborn := script("stubborn", "trap '' TERM; echo up; while :; do sleep 0.01; done")
	proxy := script("proxy", "trap 'echo draining' USR1; trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done")
	proxy.Stop = pod.Stop{Order: 1, Notice: syscall.SIGUSR1}
	var ends []string
	p, err := m.StartPod(ctx, spec(m, "p", polite, stubborn, proxy), func(e pod.Event) {
		if e.Kind == pod.Exited {
			ends = append(ends, fmt.Sprint(e.Process, e.Code, int(e.Signal)))
		}
	})
	if err != nil {
		return err
	}
	for _, name := range []string{"polite", "stubborn", "proxy"} {
		if err := until(ctx, p.Log(name), "up"); err != nil {
			return err
		}
	}
	if err := p.Stop(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	if got, want := fmt.Sprint(ends), "[polite3 0 stubborn137 9 proxy0 0]"; got != want {
		return fmt.Errorf("ends: %v, want %v", got, want)
	}
	if !strings.Contains(string(p.Log("proxy").Tail(pod.Part{Lines: -1})), "draining") {
		return fmt.Errorf("proxy was not told: %q", p.Log("proxy").Tail(pod.Part{Lines: -1}))
	}
	if err := p.Release("proxy"); !errors.Is(err, pod.ErrGone) {
		return fmt.Errorf("a call on a stopped pod: %v", err)
	}
	return nil
}

// execCommand runs a command in the pod of a mesh, from the host: NAME NAMESPACE
// POD ARGV...
func execCommand(args []string) error {
	c, err := local.Connect(args[0])
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	exit, err := c.Exec(context.Background(), local.Exec{
		Namespace: args[1], Pod: args[2], Request: pod.ExecRequest{Argv: args[3:]},
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals,
	})
	if err == nil {
		os.Exit(exit.Code)
	}
	return err
}
