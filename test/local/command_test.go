package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// talker prints a line each 100 ms, and takes its whole grace to end.
const talker = `
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: talker}
spec:
  selector: {matchLabels: {app: talker}}
  template:
    metadata: {labels: {app: talker}, annotations: {sidecar.istio.io/inject: "false"}}
    spec:
      terminationGracePeriodSeconds: 3
      containers:
      - name: talker
        command: [/bin/sh, -c, 'trap "" TERM; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.1; done']
`

// withTalker is the folder of a mesh with a talker.
func withTalker(t *testing.T) string {
	t.Helper()
	dir := folder(t)
	save(t, filepath.Join(dir, "talker.yaml"), strings.TrimPrefix(talker, "\n---\n"))
	return dir
}

func TestCommands(t *testing.T) {
	dir := withTalker(t)
	m := up(t, dir)
	t.Run("exec of what cannot run", func(t *testing.T) { execCodes(t, m) })
	t.Run("logs follow", func(t *testing.T) { logsFollow(t, m) })
	t.Run("interrupted exec", func(t *testing.T) { interruptedExec(t, m) })
	t.Run("no command", func(t *testing.T) { noCommand(t, m) })
	t.Run("logs end with the mesh, and down is interrupted", func(t *testing.T) { interruptedDown(t, m) })
}

// execCodes: a program that is not there, or cannot run, is what it is to a shell.
func execCodes(t *testing.T, m *running) {
	data := filepath.Join(m.Dir, "data.txt")
	save(t, data, "text")
	odd := filepath.Join(m.Dir, "odd")
	if err := errors.Join(os.WriteFile(odd, []byte{0x7f, 'E', 'L', 'F', 9}, 0o755), os.Chmod(odd, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		program, says string
		code          int
	}{
		{"no-such-program", "no-such-program: not found in PATH=", 127},
		{"./nothing", filepath.Join(m.Dir, "nothing") + ": no such file", 127},
		{"./data.txt", data + ": permission denied", 126},
		{"/usr", "/usr: is a directory", 126},
		{"./odd", odd + ": exec format error", 126},
	} {
		for _, pod := range []string{"front", "talker"} {
			out, err := m.inPod(t, pod, c.program)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != c.code || !strings.Contains(out, c.says) {
				t.Errorf("%s in %s: %v, want exit code %d and %q: %s", c.program, pod, err, c.code, c.says, out)
			}
		}
	}
}

// spoken is a weft command that goes on.
type spoken struct {
	*exec.Cmd
	lines chan string // closed at its end
}

func (m *running) begin(t *testing.T, args ...string) *spoken {
	t.Helper()
	s := &spoken{Cmd: exec.CommandContext(t.Context(), m.Binary, args...), lines: make(chan string, 10000)}
	s.Stderr = t.Output()
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			s.lines <- in.Text()
		}
	}()
	return s
}

// await waits for a line that holds a text, and gives it; empty: for the end of
// the output.
func (s *spoken) await(t *testing.T, text string) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line, more := <-s.lines:
			if !more && text == "" || more && text != "" && strings.Contains(line, text) {
				return line
			}
			if !more {
				t.Fatalf("%v ended before it printed %q", s.Args, text)
			}
		case <-deadline:
			t.Fatalf("%v did not print %q", s.Args, text)
		}
	}
}

// ends checks the exit code, after a signal if there is one.
func (s *spoken) ends(t *testing.T, signal os.Signal, code int) {
	t.Helper()
	if signal != nil {
		if err := s.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	s.await(t, "")
	if err := s.Wait(); s.ProcessState.ExitCode() != code {
		t.Errorf("%v ended with %v, want exit code %d", s.Args, err, code)
	}
}

func logsFollow(t *testing.T, m *running) {
	logs := m.begin(t, "logs", "talker", "-f", "--tail", "1", "--name", m.Name)
	logs.await(t, "line ")
	out, err := weft(t.Context(), m, "logs", "talker", "--tail", "1", "--name", m.Name)
	var n int
	if _, scan := fmt.Sscanf(out, "line %d", &n); err != nil || scan != nil {
		t.Fatalf("%v %v: %s", err, scan, out)
	}
	logs.await(t, fmt.Sprintf("line %d", n+5)) // what comes is shown as it comes
	logs.ends(t, os.Interrupt, 0)
}

// interruptedExec: Ctrl-C is the command's to take.
func interruptedExec(t *testing.T, m *running) {
	run := m.begin(t, "exec", "--name", m.Name, "talker", "--", "/bin/sh", "-c", "trap 'echo caught; exit 3' INT; echo up; while :; do sleep 0.05; done")
	run.await(t, "up")
	run.ends(t, os.Interrupt, 3)
	run = m.begin(t, "exec", "--name", m.Name, "talker", "--", "/bin/sh", "-c", "echo up; exec sleep 1000")
	run.await(t, "up")
	run.ends(t, os.Interrupt, 128+int(syscall.SIGINT))
}

// noCommand: what has an image alone is said, and runs once it has a command.
func noCommand(t *testing.T, m *running) {
	file := filepath.Join(m.Dir, "image.yaml")
	image := strings.NewReplacer("talker", "image", "\n---\n", "", "command: [/bin/sh", "image: x # [/bin/sh").Replace(talker)
	save(t, file, image)
	const says = "error Deployment default/image: container image: it has no command; local pods are processes"
	shown := func(want bool) func() error {
		return func() error {
			if out, err := weft(t.Context(), m, "ps", "--name", m.Name); err != nil || strings.Contains(out, says) != want {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		}
	}
	eventually(t, patience, "weft ps says why it does not run", shown(true))
	m.awaitAll(t) // the others do
	start := time.Now()
	second := &running{Mesh: upMesh(t, m.Dir)}
	t.Cleanup(func() { _, _ = weft(context.Background(), second, "down", "--name", second.Name) })
	out, err := weft(t.Context(), second, "up", m.Dir, "-d", "--name", second.Name, "--publish", "80=127.0.0.1:0")
	if err == nil || !strings.Contains(out, says) || time.Since(start) > patience {
		t.Errorf("weft up after %v: %v: %s", time.Since(start), err, out)
	}
	save(t, file, strings.ReplaceAll(talker[len("\n---\n"):], "talker", "image"))
	eventually(t, patience, "it runs", shown(false))
	eventually(t, patience, "weft exec finds it", func() error {
		out, err := m.inPod(t, "image", "/bin/true")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// interruptedDown: weft down that is interrupted says so; the mesh ends all the
// same, and with it what follows its logs.
func interruptedDown(t *testing.T, m *running) {
	pids := m.pids(t)
	gateways, err := m.PodsOf(t.Context(), "istio-ingressgateway")
	if err != nil {
		t.Fatal(err)
	}
	first := m.pid(t, gateways[0].Name, "envoy") // what is stopped first; the talker takes 3 s more
	logs := m.begin(t, "logs", "talker", "-f", "--tail", "1", "--name", m.Name)
	logs.await(t, "line ")
	down := m.begin(t, "down", "--name", m.Name)
	eventually(t, patience, "the mesh stops", func() error {
		if !errors.Is(syscall.Kill(first, 0), syscall.ESRCH) {
			return errors.New("all of it runs")
		}
		return nil
	})
	down.ends(t, os.Interrupt, 130)
	logs.ends(t, nil, 0)
	eventually(t, patience, "all processes are gone", func() error { return anyAlive(pids) })
}
