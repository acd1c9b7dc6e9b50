package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Each part is killed while requests run: none fails, a change is live again
// soon, and certificates go on rotating.
func TestPartsKilledUnderLoad(t *testing.T) {
	dir := folder(t)
	m := up(t, dir, "--certificate-ttl", "60s")
	pod := func(deployment string) string {
		pods, err := m.PodsOf(t.Context(), deployment)
		if err != nil {
			t.Fatal(err)
		}
		return pods[0].Name
	}
	load := m.steady(t)
	load.lasts(t, 50)
	revision := 1
	for _, victim := range []struct{ what, pod, binary string }{
		{"the pilot", "weft-pilot", "pilot"},
		{"the CA", "weft-ca", "ca"},
		{"the agent of a client", pod("front"), "agent"},
		{"the agent of a server", pod("details"), "agent"},
		{"the gateway's agent", pod("istio-ingressgateway"), "agent"},
	} {
		_, before := load.count()
		serial := m.certificate(t)
		kill(t, m.pid(t, victim.pod, victim.binary))
		m.awaitAll(t)
		revision++
		m.revise(t, dir, revision)
		load.lasts(t, 100)
		if _, failed := load.count(); failed != before {
			t.Errorf("%s killed: %d requests failed: %+v", victim.what, failed-before, load.failures()[before])
		}
		eventually(t, 2*patience, "certificates rotate after "+victim.what+" was killed", func() error {
			if m.certificate(t) == serial {
				return fmt.Errorf("its certificate is still %s", serial)
			}
			return nil
		})
	}
}

// certificate is what the proxy of front holds: it prints when it came.
func (m *running) certificate(t *testing.T) string {
	t.Helper()
	out, err := weft(t.Context(), m, "proxy-config", "secrets", "front", "--name", m.Name)
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "default" {
			return strings.Join(f[1:], " ")
		}
	}
	t.Fatalf("no certificate in %s (%v)", out, err)
	return ""
}

// revise edits the route and waits until answers show it.
func (m *running) revise(t *testing.T, dir string, revision int) {
	t.Helper()
	save(t, filepath.Join(dir, "route.yaml"), strings.Replace(routes(t), `x-revision: "1"`, fmt.Sprintf(`x-revision: "%d"`, revision), 1))
	eventually(t, patience, "an edit is live", func() error {
		if _, header, _ := m.get(t, "/"); header.Get("x-revision") != fmt.Sprint(revision) {
			return fmt.Errorf("x-revision is %q, want %d", header.Get("x-revision"), revision)
		}
		return nil
	})
}

// TestNamesWaitForTheirAgent: an app that asks for a name while its agent is dead
// is answered by the next one.
func TestNamesWaitForTheirAgent(t *testing.T) {
	m := up(t, folder(t))
	pods, err := m.PodsOf(t.Context(), "front")
	if err != nil {
		t.Fatal(err)
	}
	run := m.begin(t, "exec", "--name", m.Name, pods[0].Name, "--", "/bin/sh", "-c",
		"while :; do getent ahosts details >/dev/null && echo found || echo failed; done")
	for range 3 {
		run.await(t, "found")
		pid := m.pid(t, pods[0].Name, "agent")
		kill(t, pid)
		eventually(t, patience, "there is another agent", func() error {
			if now, ok := m.find(t, pods[0].Name, "agent"); !ok || now == pid {
				return errors.New("there is none")
			}
			return nil
		})
		for range len(run.lines) + 10 { // those before it died, and of the next one
			if line := run.await(t, "f"); line != "found" {
				t.Fatalf("asked while the agent was dead: %s", line)
			}
		}
	}
	run.ends(t, os.Interrupt, 128+int(syscall.SIGINT))
}

// A killed Envoy takes with it what runs through it, and is back by itself.
func TestEnvoyKilled(t *testing.T) {
	m := up(t, folder(t))
	pods, err := m.PodsOf(t.Context(), "details")
	if err != nil {
		t.Fatal(err)
	}
	load := m.steady(t)
	load.lasts(t, 50)
	old := m.pid(t, pods[0].Name, "envoy")
	kill(t, old)
	eventually(t, patience, "another Envoy runs", func() error {
		if now, ok := m.find(t, pods[0].Name, "envoy"); !ok || now == old {
			return errors.New("there is none")
		}
		return nil
	})
	m.awaitAll(t)
	_, failed := load.count()
	load.lasts(t, 200)
	if _, after := load.count(); after != failed {
		t.Errorf("%d requests failed after the Envoy was back: %+v", after-failed, load.failures()[failed])
	}
	if failed > 20 {
		t.Errorf("%d requests failed, more than ran through the killed Envoy", failed)
	}
}

// When the supervisor is killed, the kernel ends all that is below it.
func TestSupervisorKilledLeavesNothing(t *testing.T) {
	m := up(t, folder(t))
	pids := m.pids(t)
	if len(pids) < 10 {
		t.Fatalf("a mesh of only %d processes", len(pids))
	}
	kill(t, pids[0])
	eventually(t, patience, "all processes are gone", func() error { return anyAlive(pids) })
	if out, err := weft(t.Context(), m, "ps", "--name", m.Name); err == nil {
		t.Errorf("weft ps still answers: %s", out)
	}
	up(t, folder(t)) // and a new one starts
}
