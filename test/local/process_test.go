package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The guide to processes of one's own works as it is written: the process is
// called when its probe finds it well, calls as its group's service account, and
// is out when it ends.
func TestProcessGuide(t *testing.T) {
	at := newSite(t)
	at.fresh("bookshop")
	dir, bash := at.dir, at.bash
	var run *exec.Cmd
	for _, s := range steps(t, "local-process") {
		switch {
		case s.file != "":
			save(t, filepath.Join(dir, s.file), s.text)
		case strings.Contains(s.text, "run details-dev -- bin/bookshop details"):
			run = terminal(t, dir, s.text)
		case strings.Contains(s.text, "weft up"):
			if out, err := bash(s.text + " --publish 80=127.0.0.1:0"); err != nil {
				t.Fatalf("%s: %v\n%s", s.text, err, out)
			}
		default:
			want := map[bool]string{true: `"version": "dev"`, false: "details-dev-10-244-"}[strings.Contains(s.text, "http://details")]
			if strings.Contains(s.text, "http://ratings") {
				want = ""
			}
			eventually(t, 40*time.Second, s.text, func() error { return answers(bash, s.text, want) })
		}
	}
	processIsKnown(t, bash)
	if err := syscall.Kill(-run.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	eventually(t, 20*time.Second, "the process is out", func() error {
		out, err := bash("bin/weft ps")
		if strings.Contains(out, "details-dev-10-") {
			err = fmt.Errorf("weft ps says %s", out)
		}
		return err
	})
	unwell(t, dir, bash)
}

// answers says why a command does not print what is wanted, well or not.
func answers(bash func(string) (string, error), line, want string) error {
	out, err := bash(line)
	if !strings.Contains(out, want) {
		return fmt.Errorf("%w: %s, not %q", err, out, want)
	}
	return nil
}

// terminal starts a line of the guide as in a second terminal.
func terminal(t *testing.T, dir, line string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", "exec "+line)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), fmt.Sprintf("WEFT_MESH=guide-%d", os.Getpid()))
	cmd.Stdout, cmd.Stderr = io.Discard, t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	return cmd
}

// processIsKnown: who it calls sees the group's account, and its labels.
func processIsKnown(t *testing.T, bash func(string) (string, error)) {
	t.Helper()
	for _, want := range []string{"URI=spiffe://cluster.local/ns/default/sa/details", "OU=ver:dev", "OU=wl:details-dev"} {
		eventually(t, 20*time.Second, want, func() error {
			return answers(bash, "bin/weft workload run details-dev -- bin/bookshop get http://reviews/reviews", want)
		})
	}
	for line, code := range map[string]int{
		"bin/weft workload run details-dev -- sh -c 'exit 7'": 7, "bin/weft workload run details-dev -- no-such-program": 127,
		"bin/weft workload run no-such-group -- true": 1, "bin/weft workload run details-dev": 2,
	} {
		out, err := bash(line)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != code {
			t.Errorf("%s: %v, want exit code %d\n%s", line, err, code, out)
		}
	}
}

// unwell: nobody is sent to a process whose probe fails, which weft ps says; it
// ends with its group.
func unwell(t *testing.T, dir string, bash func(string) (string, error)) {
	t.Helper()
	run := terminal(t, dir, "bin/weft workload run details-dev --entry silent -- sleep 600")
	eventually(t, 20*time.Second, "weft ps says that it is not ready", func() error { return answers(bash, "bin/weft ps | grep silent", "1/2") })
	if out, err := bash("bin/weft proxy-config endpoints reviews-v1 | grep :9090"); err == nil {
		t.Errorf("there are endpoints of a process that does not listen: %s", out)
	}
	if err := os.Remove(filepath.Join(dir, "samples/bookshop/dev.yaml")); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = run.Wait() // it was killed
	}()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("it goes on without its group")
	}
}

// rootlessProcess: a process of a user without rights joins as well.
func rootlessProcess(t *testing.T, u *stranger, m *running) {
	save(t, filepath.Join(m.Dir, "group.yaml"), "apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: mine}\nspec: {template: {serviceAccount: mine}}\n")
	eventually(t, 20*time.Second, "a process calls details", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		out, err := u.weft(ctx, "workload", "run", "--name", m.Name, "mine", "--", filepath.Join(u.root, "bin", "bookshop"), "get", "http://details/details")
		if err == nil && !strings.Contains(out, "URI=spiffe://cluster.local/ns/default/sa/mine") {
			err = errors.New("it is not known as mine")
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}
