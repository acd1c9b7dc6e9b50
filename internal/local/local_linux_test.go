package local_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/pod"
)

// patience ends a test that hangs; none waits for it when all is well.
const patience = 60 * time.Second

// scenario runs in meshd, which is this test binary started again. What it
// returns is the test's failure; print tells the test how far it is.
type scenario func(ctx context.Context, m *local.Mesh) error

var scenarios = map[string]scenario{
	"idle":     idle,
	"names":    names,
	"rights":   rights,
	"captured": captured,
	"services": services,
	"restarts": restarts,
	"orphan":   orphan,
	"order":    order,
	"exec":     execPod,
	"publish":  publish,
	"many":     many,
	"crash":    crash,
	"podkill":  podKill,
}

// plan is Options.Config of these tests.
type plan struct {
	Scenario string
	Input    string
	Token    string // in the name or environment of every process of the mesh
}

// tokenEnv carries plan.Token.
const tokenEnv = "WEFT_TEST_TOKEN"

func TestMain(m *testing.M) {
	local.Reexec(func(ctx context.Context, mesh *local.Mesh) error {
		return scenarios[planOf(mesh).Scenario](ctx, mesh)
	})
	if len(os.Args) > 1 && commands[os.Args[1]] != nil {
		if err := commands[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func planOf(m *local.Mesh) (p plan) {
	if err := json.Unmarshal(m.Config(), &p); err != nil {
		panic(err)
	}
	return p
}

// commands are what else this binary does: what runs in pods, and on the host
// with other rights than the test's.
var commands = map[string]func(args []string) error{
	"up":     up,
	"probe":  func([]string) error { return json.NewEncoder(os.Stdout).Encode(local.Probe(context.Background())) },
	"exec":   execCommand,
	"serve":  serve,
	"grab":   grab,
	"proxy":  proxy,
	"child":  child,
	"refuse": refuse, "knock": knock, "get": getCommand, "terminal": terminalCommand,
}

// up is a supervisor: it runs the mesh NAME with the plan.
func up(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT)
	defer stop()
	return local.Run(ctx, local.Options{Name: args[0], Config: []byte(args[1]), StopTimeout: patience})
}

// user is whom a test runs as.
type user struct {
	name string
	attr *syscall.SysProcAttr
}

// users are those whom this test can run as: root also as one who has no rights.
func users() []user {
	if os.Getuid() != 0 {
		return []user{{"rootless", nil}}
	}
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	return []user{{"root", nil}, {"rootless", &syscall.SysProcAttr{Credential: nobody}}}
}

// command is this binary, started by that user.
func (u user) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if u.attr != nil {
		*cmd.SysProcAttr = *u.attr
	}
	return cmd
}

// forEachUser runs a test with a mesh of each kind.
func forEachUser(t *testing.T, test func(t *testing.T, u user)) {
	for _, u := range users() {
		t.Run(u.name, func(t *testing.T) { test(t, u) })
	}
}

// running is a mesh that a test started.
type running struct {
	t     *testing.T
	user  user
	name  string
	token string
	cmd   *exec.Cmd
	lines chan string // of its output
	mu    sync.Mutex
	said  bytes.Buffer
}

// start runs a scenario; the test's end ends it.
func start(t *testing.T, u user, scenario, input string) *running {
	t.Helper()
	r := &running{t: t, user: u, lines: make(chan string, 10000)}
	r.name = regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(t.Name()), "-")
	r.name = fmt.Sprintf("%s-%d", r.name, os.Getpid()) // these tests may run twice at a time
	r.token = fmt.Sprintf("%s-%d", r.name, time.Now().UnixNano())
	config, err := json.Marshal(plan{Scenario: scenario, Input: input, Token: r.token})
	if err != nil {
		t.Fatal(err)
	}
	r.cmd = u.command(context.Background(), "up", r.name, string(config))
	r.cmd.Env = append(os.Environ(), tokenEnv+"="+r.token)
	r.cmd.SysProcAttr.Pdeathsig = 0
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.cmd.Stderr = r.cmd.Stdout
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go r.read(out)
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		r.gone()
	})
	return r
}

func (r *running) read(out io.Reader) {
	defer close(r.lines)
	for s := bufio.NewScanner(out); s.Scan(); {
		r.mu.Lock()
		fmt.Fprintln(&r.said, s.Text())
		r.mu.Unlock()
		r.lines <- s.Text()
	}
}

// output is all that the mesh said so far.
func (r *running) output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said.String()
}

// await waits for a line that starts with word, and gives the rest of it.
func (r *running) await(word string) string {
	r.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line, open := <-r.lines:
			if !open {
				r.t.Fatalf("the mesh ended before it said %q:\n%s", word, r.output())
			}
			if rest, ok := strings.CutPrefix(line, word); ok {
				return strings.TrimSpace(rest)
			}
		case <-timeout:
			r.t.Fatalf("the mesh did not say %q:\n%s", word, r.output())
		}
	}
}

// end waits for the mesh's own end, which must be a good one.
func (r *running) end() {
	r.t.Helper()
	timer := time.AfterFunc(patience, func() { _ = r.cmd.Process.Kill() })
	defer timer.Stop()
	for range r.lines { // to the end of its output
	}
	if err := r.cmd.Wait(); err != nil {
		r.t.Fatalf("%v:\n%s", err, r.output())
	}
	if out := r.output(); strings.Contains(out, "DATA RACE") { // in meshd or pod-init
		r.t.Fatal(out)
	}
	r.gone()
}

// interrupt is Ctrl-C.
func (r *running) interrupt() {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		r.t.Fatal(err)
	}
	r.end()
}

// gone waits until no process of the mesh is there.
func (r *running) gone() {
	r.t.Helper()
	if left := r.left(); len(left) > 0 {
		waitUntil(r.t, func() bool { left = r.left(); return len(left) == 0 }, func() string { return fmt.Sprintf("processes left: %q", left) })
	}
}

// left lists the mesh's processes by their command lines.
func (r *running) left() (list []string) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, d := range dirs {
		line, _ := os.ReadFile("/proc/" + d.Name() + "/cmdline")
		env, _ := os.ReadFile("/proc/" + d.Name() + "/environ")
		if len(line) > 0 && (bytes.Contains(line, []byte(r.token)) || bytes.Contains(env, []byte(r.token))) {
			list = append(list, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return list
}

// waitUntil looks at a condition again and again.
func waitUntil(t *testing.T, done func() bool, failure func() string) {
	t.Helper()
	tick, timeout := time.NewTicker(time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal(failure())
		}
	}
}

// runScenario runs one that ends by itself.
func runScenario(t *testing.T, name string) {
	forEachUser(t, func(t *testing.T, u user) { start(t, u, name, "").end() })
}

// idle has one pod and waits for the end.
func idle(ctx context.Context, m *local.Mesh) error {
	p, err := m.StartPod(ctx, spec(m, "idle", app("sleep", "/bin/sleep", "infinity")), nil)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	return p.Stop(context.WithoutCancel(ctx), patience)
}

// spec is a pod whose processes carry the test's token.
func spec(m *local.Mesh, name string, processes ...pod.Process) pod.Spec {
	addrs, err := m.NewAddresses()
	if err != nil {
		panic(err)
	}
	for i := range processes {
		processes[i].Env = append(processes[i].Env, tokenEnv+"="+planOf(m).Token)
	}
	// The namespace carries it too, for pod-init.
	return pod.Spec{Name: name, Namespace: planOf(m).Token, Addresses: addrs, Processes: processes}
}

func app(name string, argv ...string) pod.Process {
	return pod.Process{Name: name, Argv: argv, Env: []string{"PATH=" + os.Getenv("PATH")}}
}

// me is an app that is a command of this binary.
func me(name string, args ...string) pod.Process {
	return app(name, slices.Insert(args, 0, "/proc/self/exe")...)
}

// run executes a shell command in a pod and gives its output.
func run(ctx context.Context, p *pod.Pod, script string) (string, error) {
	return runAs(ctx, p, pod.ExecRequest{Argv: []string{"/bin/sh", "-c", script}})
}

func runAs(ctx context.Context, p *pod.Pod, request pod.ExecRequest) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	var out bytes.Buffer
	read := make(chan error, 1)
	go func() { _, err := io.Copy(&out, r); read <- err }()
	null, err := os.Open("/dev/null")
	if err != nil {
		return "", err
	}
	defer null.Close()
	exit, err := p.Exec(ctx, request, [3]int{int(null.Fd()), int(w.Fd()), int(w.Fd())}, nil)
	w.Close()
	if err = errors.Join(err, <-read); err == nil && exit != (pod.Exit{}) {
		err = fmt.Errorf("%q: %+v: %s", request.Argv, exit, out.String())
	}
	return out.String(), err
}

// until waits for a word in a log.
func until(ctx context.Context, log *pod.Log, word string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var seen []byte
	buf := make([]byte, 4096)
	from := log.Follow(ctx, pod.Part{Lines: -1})
	for !bytes.Contains(seen, []byte(word)) {
		n, err := from.Read(buf)
		if seen = append(seen, buf[:n]...); err != nil {
			return fmt.Errorf("log has no %q: %q", word, seen)
		}
	}
	return nil
}

func get(ctx context.Context, c *http.Client, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := c.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}
