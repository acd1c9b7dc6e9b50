package agent_test

import (
	"crypto/tls"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/miekg/dns"

	"github.com/weftmesh/weft/internal/agent/node"
	"github.com/weftmesh/weft/internal/enroll"
)

// mesh is a pilot with a small configuration, and one pod.
type mesh struct {
	ca    *testCA
	pilot *testPilot
	pod   *pod
	plain inbound // answers "one"
	tls   inbound
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{ca: newTestCA(t)}
	m.pilot = newTestPilot(t, m.ca)
	m.plain = inbound{port: freePort(t), body: "one"}
	m.tls = inbound{port: freePort(t), body: "secured", tls: true, api: corev3.ApiConfigSource_DELTA_GRPC}
	m.pilot.put("plain", m.plain.listener(t))
	m.pilot.put("tls", m.tls.listener(t))
	m.pilot.put("outbound|80||reviews.shop.svc.cluster.local", cluster("outbound|80||reviews.shop.svc.cluster.local"))
	m.pilot.put("reviews.shop.svc.cluster.local", domain("reviews.shop.svc.cluster.local", "10.96.0.7"))
	m.pod = newPod(t, m.ca, m.pilot.address)
	return m
}

func (m *mesh) body() string {
	_, body, _ := get(fmt.Sprintf("http://127.0.0.1:%d/", m.plain.port))
	return body
}

// serial is that of the certificate which Envoy shows; nil if it shows none.
func (m *mesh) serial(t *testing.T) *big.Int {
	t.Helper()
	client := m.ca.issue(t, podID)
	config := enroll.ClientTLS(client.certificate, m.ca.roots(t), enroll.AllowIDs(podID))
	config.NextProtos = nil
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Second}, "tcp", fmt.Sprintf("127.0.0.1:%d", m.tls.port), config)
	if err != nil {
		return nil
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber
}

// TestPodComesUp: configuration, secrets by either kind of stream, names,
// readiness and metrics, all from one agent and one pilot.
func TestPodComesUp(t *testing.T) {
	for _, api := range []corev3.ApiConfigSource_ApiType{corev3.ApiConfigSource_DELTA_GRPC, corev3.ApiConfigSource_GRPC} {
		t.Run("SDS by "+api.String(), func(t *testing.T) {
			m := newMesh(t)
			m.tls.api = api
			m.pilot.put("tls", m.tls.listener(t))
			m.pilot.start()
			m.pod.start()
			eventually(t, "the pod is ready", m.pod.ready)
			if body := m.body(); body != "one" {
				t.Errorf("Envoy answers %q", body)
			}
			eventually(t, "Envoy shows the pod's certificate", func() bool { return m.serial(t) != nil })
			if answer := m.lookup(t, "Reviews."); len(answer) != 1 || !strings.HasSuffix(answer[0], "10.96.0.7") {
				t.Errorf("reviews is %v", answer)
			}
			peers, nacks := m.pilot.seen()
			if len(nacks) > 0 {
				t.Errorf("Envoy refused: %v", nacks)
			}
			for _, id := range peers {
				if id != podID {
					t.Errorf("the pilot saw %s", id)
				}
			}
			if v := m.pod.metric("istio_agent_startup_duration_seconds"); v == "" {
				t.Error("no start-up time in the metrics")
			}
			eventually(t, "Envoy's metrics are on the page", func() bool { return m.pod.metric("envoy_server_live{}") == "1" })
		})
	}
}

func (m *mesh) lookup(t *testing.T, name string) []string {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, dns.TypeA)
	a, err := dns.Exchange(q, m.pod.config.Options.DNS.Listen[0])
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, rr := range a.Answer {
		out = append(out, rr.String())
	}
	return out
}

// TestPilotRestarts: Envoy keeps what it has, says so to the pilot's successor,
// and gets the one thing that has changed.
func TestPilotRestarts(t *testing.T) {
	m := newMesh(t)
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	m.pilot.stop()
	eventually(t, "the agent has noticed", func() bool { return m.pod.metric("istio_agent_istiod_connection_terminations") != "0" })
	if body := m.body(); body != "one" {
		t.Fatalf("without a pilot Envoy answers %q", body)
	}
	if answer := m.lookup(t, "reviews.shop."); len(answer) != 1 {
		t.Errorf("without a pilot reviews.shop is %v", answer)
	}
	m.plain.body = "two"
	m.pilot.put("plain", m.plain.listener(t))
	m.pilot.start()
	begun := time.Now()
	eventually(t, "the change is live", func() bool { return m.body() == "two" })
	t.Logf("in sync %v after the pilot's return", time.Since(begun))
	requests := m.pilot.firstRequests(listenerType)
	last := requests[len(requests)-1]
	if len(requests) < 2 || len(last.GetInitialResourceVersions()) != 2 {
		t.Errorf("after %d subscriptions Envoy named %v", len(requests), last.GetInitialResourceVersions())
	}
	if n := m.pilot.timesSent("tls"); n != 1 {
		t.Errorf("the unchanged listener was sent %d times", n)
	}
	if n := m.pilot.timesSent("reviews.shop.svc.cluster.local"); n != 1 {
		t.Errorf("the unchanged name was sent %d times", n)
	}
}

// TestNextPilot: one address that refuses, one that is another's, one that is
// the pilot.
func TestNextPilot(t *testing.T) {
	m := newMesh(t)
	foreign := newTestPilot(t, newTestCA(t))
	foreign.start()
	m.pod.config.Options.Pilot.Addresses = []string{freeAddress(t), foreign.address, m.pilot.address}
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	if peers, _ := foreign.seen(); len(peers) > 0 {
		t.Errorf("the foreign pilot was spoken to")
	}
}

func TestRotationReachesEnvoy(t *testing.T) {
	m := newMesh(t)
	m.pod.config.TTL = 3 * time.Second
	m.pilot.start()
	m.pod.start()
	var first *big.Int
	eventually(t, "Envoy shows a certificate", func() bool { first = m.serial(t); return first != nil })
	eventually(t, "Envoy shows the next one", func() bool { now := m.serial(t); return now != nil && now.Cmp(first) != 0 })
}

// TestAgentKilled: Envoy serves on, though nobody reads its output any more;
// the next agent adopts it and rotates its certificate.
func TestAgentKilled(t *testing.T) {
	m := newMesh(t)
	m.pod.config.TTL = 3 * time.Second
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	pid, before := m.pod.envoyPID(), m.serial(t)
	for range 3 {
		m.pod.kill()
		if body := m.body(); body != "one" {
			t.Fatalf("without an agent Envoy answers %q", body)
		}
		if m.pod.ready() {
			t.Error("ready without an agent")
		}
		m.pod.start()
		eventually(t, "the pod is ready again", m.pod.ready)
		if got := m.pod.envoys(); len(got) != 1 || got[0] != pid {
			t.Fatalf("Envoys are %v, want %d alone", got, pid)
		}
	}
	eventually(t, "Envoy shows another certificate", func() bool {
		now := m.serial(t)
		return now != nil && before != nil && now.Cmp(before) != 0
	})
	m.plain.body = "two"
	m.pilot.put("plain", m.plain.listener(t))
	eventually(t, "a change is live", func() bool { return m.body() == "two" })
}

// TestAgentRestartsWithoutPilot: names of the mesh are answered, and the pilot
// that is back sends only what has changed.
func TestAgentRestartsWithoutPilot(t *testing.T) {
	m := newMesh(t)
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	eventually(t, "names are kept", func() bool {
		text, err := os.ReadFile(filepath.Join(m.pod.config.Options.RunDir, "names.json"))
		return err == nil && strings.Contains(string(text), "reviews.shop.svc.cluster.local")
	})
	m.pilot.stop()
	m.pod.kill()
	m.pod.start()
	eventually(t, "the pod is ready again", m.pod.ready)
	if answer := m.lookup(t, "reviews."); len(answer) != 1 || !strings.HasSuffix(answer[0], "10.96.0.7") {
		t.Errorf("without a pilot reviews is %v", answer)
	}
	m.pilot.put("late.shop.svc.cluster.local", domain("late.shop.svc.cluster.local", "10.96.0.8"))
	m.pilot.start()
	eventually(t, "a new name is known", func() bool { return len(m.lookup(t, "late.")) == 1 })
	if n := m.pilot.timesSent("reviews.shop.svc.cluster.local"); n != 1 {
		t.Errorf("the unchanged name was sent %d times", n)
	}
}

// TestNobodyReads: the reader of the agent's output goes away with the agent,
// and an Envoy that has a lot to say does not mind.
func TestNobodyReads(t *testing.T) {
	m := newMesh(t)
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	m.pod.kill()
	m.pod.closeOutput()
	response, err := m.pod.admin().Post("http://envoy/logging?level=trace", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	for range 50 {
		if body := m.body(); body != "one" {
			t.Fatalf("Envoy answers %q", body)
		}
	}
	m.pod.start()
	eventually(t, "the pod is ready again", m.pod.ready)
}

// TestRouter: a gateway, with a socket mark, drains all its listeners.
func TestRouter(t *testing.T) {
	m := newMesh(t)
	m.pod.config.Options.Node.Role = node.Router
	m.pod.config.Options.SocketMark = 1337
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	requests := m.pilot.firstRequests(clusterType)
	if id := requests[0].GetNode().GetId(); !strings.HasPrefix(id, "router~127.0.0.1~") {
		t.Errorf("the node is %s", id)
	}
	if err := m.pod.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	<-m.pod.ended
	if took := time.Since(begun); took > 2500*time.Millisecond {
		t.Errorf("without a connection it drained for %v", took)
	}
	if left := m.pod.envoys(); len(left) > 0 {
		t.Errorf("Envoys left: %v", left)
	}
}

// TestAgentKilledAtAnyMoment: whenever the agent dies, also between the start
// of Envoy and the note that it runs, the next one makes it one Envoy.
func TestAgentKilledAtAnyMoment(t *testing.T) {
	m := newMesh(t)
	m.pilot.start()
	for range 25 {
		m.pod.start()
		<-time.After(rand.N(60 * time.Millisecond)) // the moment, not a wait for anything
		m.pod.kill()
		if got := m.pod.envoys(); len(got) > 1 {
			t.Fatalf("Envoys are %v", got)
		}
	}
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	if got := m.pod.envoys(); len(got) != 1 || got[0] != m.pod.envoyPID() {
		t.Errorf("Envoys are %v, the pid file says %d", got, m.pod.envoyPID())
	}
}

// TestOtherConfiguration: an Envoy that was started with another bootstrap is
// not adopted but replaced.
func TestOtherConfiguration(t *testing.T) {
	m := newMesh(t)
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	m.pod.kill()
	pid := m.pod.envoyPID()
	m.pod.config.Options.Envoy.MaxConnections = 77
	m.pod.start()
	eventually(t, "the pod is ready", func() bool { return m.pod.envoyPID() != pid && m.pod.ready() })
	if got := m.pod.envoys(); len(got) != 1 {
		t.Errorf("Envoys are %v", got)
	}
}

// TestKilledWhileDraining: an Envoy that drains is not adopted, for it would
// never take another connection.
func TestKilledWhileDraining(t *testing.T) {
	m := newMesh(t)
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	pid := m.pod.envoyPID()
	response, err := client.Post(m.pod.statusURL("/drain"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	eventually(t, "Envoy is retired", func() bool {
		text, _ := os.ReadFile(m.pod.config.Options.RunDir + "/envoy.lock")
		return string(text) == "retired"
	})
	m.pod.kill()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	if got := m.pod.envoys(); len(got) != 1 || got[0] == pid {
		t.Errorf("Envoys are %v, %d was draining", got, pid)
	}
}

// TestSecondAgent: a run directory is one agent's.
func TestSecondAgent(t *testing.T) {
	m := newMesh(t)
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	second := *m.pod
	second.output = &lockedBuffer{}
	second.start()
	<-second.ended
	if code := second.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(second.output.String(), "another agent uses") {
		t.Errorf("exit code %d: %s", code, second.output)
	}
	if !m.pod.ready() {
		t.Error("the first agent is no longer ready")
	}
}

func TestEnvoyKilled(t *testing.T) {
	m := newMesh(t)
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	pid := m.pod.envoyPID()
	begun := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another Envoy serves", func() bool { return m.pod.envoyPID() != pid && m.body() == "one" })
	took := time.Since(begun)
	t.Logf("back after %v", took)
	if took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	eventually(t, "the pod is ready", m.pod.ready)
	if got := m.pod.metric("weft_agent_envoy_restarts_total"); got != "1" {
		t.Errorf("restarts counted: %q", got)
	}
}
