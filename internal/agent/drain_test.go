package agent_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDrain: a connection that is open at SIGTERM is served until it ends, and
// nothing is left after it.
func TestDrain(t *testing.T) {
	m := newMesh(t)
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", m.plain.port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	eventually(t, "the connection is counted", func() bool {
		_, body, _ := get(fmt.Sprintf("http://127.0.0.1:%d/stats?filter=inbound_%d.downstream_cx_active", m.pod.config.Options.Ports.Admin, m.plain.port))
		return strings.Contains(body, ": 1")
	})
	if err := m.pod.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "readiness fails", func() bool { return !m.pod.ready() })
	select {
	case <-m.pod.ended:
		t.Fatal("the agent ended with a connection open")
	default:
	}
	// Readiness fails before Envoy hears of it.
	eventually(t, "the client is told to go", func() bool {
		if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 4096)
		n, err := conn.Read(answer)
		if err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 200") {
			t.Fatalf("during the drain: %q, %v", answer[:n], err)
		}
		return strings.Contains(strings.ToLower(string(answer[:n])), "connection: close")
	})
	closed := time.Now()
	_ = conn.Close()
	<-m.pod.ended
	if took := time.Since(closed); took > 2500*time.Millisecond {
		t.Errorf("the drain went on for %v after the last connection", took)
	}
	if code := m.pod.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if left := m.pod.envoys(); len(left) > 0 {
		t.Errorf("Envoys left: %v", left)
	}
}

// TestDrainOnRequest: a pre-stop hook drains, a second agent is refused, and
// another pod's metadata cannot ask.
func TestDrainOnRequest(t *testing.T) {
	m := newMesh(t)
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	response, err := client.Get(m.pod.statusURL("/drain"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET /drain: %s", response.Status)
	}
	for _, path := range []string{"/drain", "/quitquitquit"} {
		response, err := client.Post(m.pod.statusURL(path), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("POST %s: %s", path, response.Status)
		}
		eventually(t, "not ready", func() bool { return !m.pod.ready() })
	}
	<-m.pod.ended
	if left := m.pod.envoys(); len(left) > 0 {
		t.Errorf("Envoys left: %v", left)
	}
}

// TestDrained: the app's pre-stop hook is answered when the pod is drained and
// nobody asks the app any more, not while a request runs.
func TestDrained(t *testing.T) {
	m := newMesh(t)
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", m.plain.port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n") // more is to come
	eventually(t, "the request is counted", func() bool {
		_, body, _ := get(fmt.Sprintf("http://127.0.0.1:%d/stats?filter=inbound_%d.downstream_rq_active", m.pod.config.Options.Ports.Admin, m.plain.port))
		return strings.Contains(body, ": 1")
	})
	hook := make(chan int, 1)
	go func() {
		code, _, _ := get(m.pod.statusURL("/drained"))
		hook <- code
	}()
	response, err := client.Post(m.pod.statusURL("/drain"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	select {
	case code := <-hook:
		t.Fatalf("the app may end (%d) though it is asked something", code)
	case <-time.After(500 * time.Millisecond):
	}
	fmt.Fprint(conn, "\r\n")
	if code := <-hook; code != http.StatusOK {
		t.Errorf("GET /drained: %d", code)
	}
}

// TestDrainOfOneThatHangs: an Envoy that does not say what it has to do is not
// taken for idle.
func TestDrainOfOneThatHangs(t *testing.T) {
	m := newMesh(t)
	m.pod.config.Options.Drain.Max = 20 * time.Second
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	pid := m.pod.envoys()[0]
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	hook := make(chan int, 1)
	go func() {
		patient := http.Client{Timeout: 20 * time.Second}
		if response, err := patient.Get(m.pod.statusURL("/drained")); err == nil {
			response.Body.Close()
			hook <- response.StatusCode
		}
	}()
	response, err := client.Post(m.pod.statusURL("/drain"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	select {
	case code := <-hook:
		t.Errorf("the app may end (%d) though Envoy says nothing", code)
	case <-time.After(3 * time.Second): // longer than Envoy's admin port is asked
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if code := <-hook; code != http.StatusOK {
		t.Errorf("GET /drained: %d", code)
	}
}
