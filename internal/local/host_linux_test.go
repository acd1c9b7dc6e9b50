package local_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/pod"
)

func TestExecFromTheHost(t *testing.T) {
	forEachUser(t, func(t *testing.T, u user) {
		m := start(t, u, "exec", "")
		m.await("ready")
		t.Run("status", func(t *testing.T) { execStatus(t, m) })
		t.Run("signal", func(t *testing.T) { execSignal(t, m) })
		t.Run("client gone", func(t *testing.T) { execClientGone(t, m) })
		t.Run("terminal", func(t *testing.T) { execTerminal(t, m) })
		t.Run("errors", func(t *testing.T) { execErrors(t, m) })
		t.Run("logs", func(t *testing.T) { readLogs(t, m) })
		t.Run("another user", func(t *testing.T) { otherUser(t, m) })
		m.interrupt()
	})
}

// execPod has a pod that logs, and waits.
func execPod(ctx context.Context, m *local.Mesh) error {
	m.Handle("GET /hello", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello from ", m.Name()) }))
	sh := app("sh", "/bin/sh", "-c", "echo one; echo two; echo three; exec sleep infinity")
	sh.Dir, sh.Env = "/usr", append(sh.Env, "COLOUR=red", "SIZE=big")
	p, err := m.StartPod(ctx, spec(m, "p", sh), nil)
	if err != nil {
		return err
	}
	if err := until(ctx, p.Log("sh"), "three"); err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	return p.Stop(context.WithoutCancel(ctx), patience)
}

func (r *running) exec(script string) *exec.Cmd {
	return r.user.command(r.t.Context(), "exec", r.name, r.token, "p", "/bin/sh", "-c", script)
}

func execStatus(t *testing.T, m *running) {
	cmd := m.exec("cat; pwd; echo $COLOUR $SIZE; uname -n >&2; exit 7")
	cmd.Stdin = strings.NewReader("input\n")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Fatalf("%v, want exit status 7: %s %s", err, &out, &errs)
	}
	if out.String() != "input\n/usr\nred big\n" || errs.String() != "p\n" {
		t.Errorf("output %q, errors %q", &out, &errs)
	}
}

func execSignal(t *testing.T, m *running) {
	cmd := m.exec("trap 'echo got it; exit 5' TERM; echo up; while :; do sleep 0.01; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 3)
	if _, err := io.ReadFull(out, buf); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(out)
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 5 || string(rest) != "got it\n" {
		t.Errorf("%v, %q", err, rest)
	}
}

// execClientGone: a command ends, with its children, when its client is killed.
func execClientGone(t *testing.T, m *running) {
	cmd := m.exec("(trap '' TERM HUP; sleep 1000077) & echo up; sleep 1000078")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// The output ends when the last process that has it open is gone.
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// execTerminal: a command given a terminal has one, and it is its controlling one.
func execTerminal(t *testing.T, m *running) {
	master, slave := openTerminal(t)
	defer master.Close()
	request, err := json.Marshal(pod.ExecRequest{Argv: []string{"/bin/sh", "-c", "test -t 0 && test -t 1 && stty size && echo on >/dev/tty"}, TTY: true})
	if err != nil {
		t.Fatal(err)
	}
	cmd := m.user.command(t.Context(), "terminal", m.name, m.token, string(request))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	if err := cmd.Run(); err != nil {
		slave.Close()
		text, _ := io.ReadAll(master)
		t.Fatalf("%v: %s", err, text)
	}
	slave.Close()
	text, _ := io.ReadAll(master) // EIO is how a terminal ends
	if got := strings.Fields(string(text)); !slices.Equal(got, []string{"33", "77", "on"}) {
		t.Errorf("the command saw %q", got)
	}
}

func execErrors(t *testing.T, m *running) {
	for want, args := range map[string][]string{
		"there is none":       {m.name, m.token, "nobody", "true"},
		"not found in PATH":   {m.name, m.token, "p", "no-such-program"},
		"no such mesh is run": {"no-such-mesh", m.token, "p", "true"},
	} {
		out, err := m.user.command(t.Context(), append([]string{"exec"}, args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("exec %q: %s, want %q", args, out, want)
		}
	}
}

func readLogs(t *testing.T, m *running) {
	for url, want := range map[string]string{
		"/v1/logs?namespace=NS&pod=p&process=sh":            "one\ntwo\nthree\n",
		"/v1/logs?namespace=NS&pod=p&process=sh&tail=2":     "two\nthree\n",
		"/v1/logs?namespace=NS&pod=p&process=sh&since=3600": "one\ntwo\nthree\n",
		"/v1/logs?namespace=NS&pod=p&process=sh&since=-1":   "since=\"-1\": a number of seconds is needed\n",
		"/v1/logs?namespace=NS&pod=p&process=x":             "process \"x\": pod p has none of that name\n",
		"/hello":                                            "hello from " + m.name,
		"/v1/mesh":                                          fmt.Sprintf("{\"mode\":%q,\"name\":%q}\n", m.user.name, m.name),
	} {
		out, err := m.user.command(t.Context(), "get", m.name, strings.ReplaceAll(url, "NS", m.token)).Output()
		if err != nil || string(out) != want {
			t.Errorf("%s: %q, want %q (%v)", url, out, want, err)
		}
	}
}

// otherUser: the API answers nobody but the mesh's user.
func otherUser(t *testing.T, m *running) {
	if os.Getuid() != 0 {
		t.Log("not root: this test cannot be another user")
		return
	}
	owner, other := os.Getuid(), &syscall.Credential{Uid: 65533, Gid: 65533}
	if m.user.attr != nil {
		owner = int(m.user.attr.Credential.Uid)
	}
	cmd := exec.Command("/proc/self/exe", "knock", fmt.Sprintf("@weft/%d/%s", owner, m.name))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: other}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "refused") {
		t.Errorf("another user: %s %v", out, err)
	}
}

// knock asks a mesh whose socket is known, without the client's own checks.
func knock(args []string) error {
	c := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", args[0])
	}}}
	if body, err := get(context.Background(), c, "http://mesh/v1/mesh"); err == nil {
		return fmt.Errorf("answered %q", body)
	}
	fmt.Println("refused")
	return nil
}

// getCommand prints what the mesh NAME answers to GET PATH.
func getCommand(args []string) error {
	c, err := local.Connect(args[0])
	if err != nil {
		return err
	}
	body, err := get(context.Background(), c.HTTP(), "http://mesh"+args[1])
	fmt.Print(body)
	return err
}

// terminalCommand runs a request as weft exec -t does.
func terminalCommand(args []string) error {
	c, err := local.Connect(args[0])
	if err != nil {
		return err
	}
	e := local.Exec{Namespace: args[1], Pod: "p", Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	if err := json.Unmarshal([]byte(args[2]), &e.Request); err != nil {
		return err
	}
	exit, err := c.Exec(context.Background(), e)
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("exit %+v", exit)
	}
	return err
}

func TestPublish(t *testing.T) {
	forEachUser(t, func(t *testing.T, u user) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		m := start(t, u, "publish", taken.Addr().String())
		address := m.await("published")
		if err := m.await("refused"); !strings.Contains(err, taken.Addr().String()) || !strings.Contains(err, "taken") {
			t.Errorf("a taken port: %q", err)
		} else if want := fmt.Sprintf("by local.test (pid %d)", os.Getpid()); u.attr == nil && !strings.Contains(err, want) {
			t.Errorf("a taken port: %q, want %q", err, want)
		}
		for _, want := range []string{"a", "b"} {
			body, err := get(t.Context(), http.DefaultClient, "http://"+address)
			if err != nil || !strings.HasPrefix(body, want+" ") {
				t.Errorf("published: %q, %v; want pod %s", body, err, want)
			}
			http.DefaultClient.CloseIdleConnections()
			if out, err := u.command(t.Context(), "get", m.name, "/next").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		m.interrupt()
		if l, err := net.Listen("tcp", address); err != nil {
			t.Errorf("the port is not free again: %v", err)
		} else {
			l.Close()
		}
	})
}

// publish has two pods and a port of the host that moves from one to the other.
func publish(ctx context.Context, m *local.Mesh) error {
	var targets []netip.AddrPort
	for _, name := range []string{"a", "b"} {
		p, err := m.StartPod(ctx, spec(m, name, me("web", "serve", ":80")), nil)
		if err != nil {
			return err
		}
		if err := until(ctx, p.Log("web"), "listening"); err != nil {
			return err
		}
		targets = append(targets, netip.AddrPortFrom(p.Spec().Addresses[0], 80))
	}
	published, err := m.Publish(ctx, "127.0.0.1:0", targets[0])
	if err != nil {
		return err
	}
	m.Handle("GET /next", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { published.SetTarget(targets[1]) }))
	fmt.Println("published", published.Addr())
	_, err = m.Publish(ctx, planOf(m).Input, targets[0])
	fmt.Println("refused", err)
	<-ctx.Done()
	return published.Close()
}

func TestTwoMeshesSideBySide(t *testing.T) {
	forEachUser(t, func(t *testing.T, u user) {
		first := start(t, u, "idle", "")
		first.await("ready")
		t.Run("second", func(t *testing.T) {
			second := start(t, u, "idle", "")
			second.await("ready")
			second.interrupt()
		})
		out, err := u.command(t.Context(), "up", first.name, `{"Scenario":"idle"}`).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "is running already") {
			t.Errorf("a second mesh of the same name: %s %v", out, err)
		}
		first.interrupt()
	})
}

func TestTwentyPods(t *testing.T) {
	forEachUser(t, func(t *testing.T, u user) {
		m := start(t, u, "many", "")
		took, err := time.ParseDuration(m.await("started"))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		m.interrupt()
		t.Logf("20 pods: started in %v, stopped in %v", took, time.Since(begun))
		if took > 10*time.Second {
			t.Errorf("20 pods took %v to start", took)
		}
	})
}

func many(ctx context.Context, m *local.Mesh) error {
	begun := time.Now()
	var group errgroup.Group
	group.SetLimit(4)
	for i := range 20 {
		group.Go(func() error {
			_, err := m.StartPod(ctx, spec(m, fmt.Sprint("pod-", i), app("sleep", "/bin/sleep", "infinity")), nil)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	fmt.Println("started", time.Since(begun))
	<-ctx.Done()
	group.SetLimit(-1)
	for _, p := range m.Pods() {
		group.Go(func() error { return p.Stop(context.WithoutCancel(ctx), patience) })
	}
	return group.Wait()
}

// openTerminal makes a terminal of 33 lines and 77 columns.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 77}); err != nil {
		t.Fatal(err)
	}
	return master, slave
}
