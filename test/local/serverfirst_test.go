package local

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// greeting is what a server says before its client does.
const greeting = "220 ready"

// greet speaks first to each client that connects.
func greet(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer func() { _ = conn.Close() }()
			if _, err := io.WriteString(conn, greeting+"\n"); err == nil {
				_, _ = io.Copy(io.Discard, conn)
			}
		}()
	}
}

// echoDatagrams sends back what comes, with the address that it came from.
func echoDatagrams(address string) error {
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		host, _, _ := net.SplitHostPort(from.String())
		_, _ = conn.WriteTo([]byte(host+" "+string(buf[:n])), from)
	}
}

// callGreeting says nothing, and prints the greeting and after how long it came.
func callGreeting(address string) (string, error) {
	start := time.Now()
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(start.Add(20 * time.Second))
	line, err := bufio.NewReader(conn).ReadString('\n')
	return fmt.Sprintf("%s after %v", strings.TrimSpace(line), time.Since(start).Round(time.Millisecond)), err
}

// callDatagram sends a text and prints what comes back. Datagrams may be lost.
func callDatagram(address, text string) (string, error) {
	conn, err := net.Dial("udp", address)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	buf := make([]byte, 2048)
	for range 5 {
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		if _, err = conn.Write([]byte(text)); err != nil {
			continue
		}
		var n int
		if n, err = conn.Read(buf); err == nil {
			return string(buf[:n]), nil
		}
	}
	return "", err
}

// speaking is a mesh of testdata/protocols.yaml, whose pods run this binary.
func speaking(t *testing.T) (m *running, self, dir string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir = folder(t)
	text, err := os.ReadFile("testdata/protocols.yaml")
	if err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(dir, "protocols.yaml"), strings.NewReplacer("SELF", self, "BIN", binaries(t)).Replace(string(text)))
	return up(t, dir), self, dir
}

// address is that of the one pod of a Deployment.
func (m *running) address(t *testing.T, deployment string) string {
	t.Helper()
	pods, err := m.PodsOf(t.Context(), deployment)
	if err != nil {
		t.Fatal(err)
	}
	return pods[0].IP
}

// TestServerFirst: a server that speaks first is heard through both sidecars,
// soon where its port tells no protocol and at once where it does; UDP passes
// the sidecars by.
func TestServerFirst(t *testing.T) {
	m, self, _ := speaking(t)
	var after time.Duration
	heard := func(what, line string) {
		t.Helper()
		eventually(t, patience, what, func() error {
			got, err := m.callFromPod(t, self, line)
			said, took, _ := strings.Cut(got, " after ")
			if err == nil && said != greeting {
				err = fmt.Errorf("got %q, want %q", got, greeting)
			}
			if err != nil {
				return err
			}
			after, err = time.ParseDuration(took)
			if err == nil && after > 4*time.Second { // one that is sooner will do: the machine may stall
				err = fmt.Errorf("the greeting came after %v", after)
			}
			return err
		})
		t.Logf("%s: %v", what, after)
	}
	heard("a port named tcp", "greeting server:7001 server")
	heard("a port without a protocol", "greeting server:7000 server")
	m.calls(t, "UDP to the pod", m.address(t, "caller")+" hello", func() (string, error) {
		return m.callFromPod(t, self, "datagram "+m.address(t, "server")+":7000 hello")
	})
}

// TestUnknownDestinationsAreCounted: connections to what the mesh does not know
// are counted as Istio counts them, under PassthroughCluster where they pass and
// under BlackHoleCluster where they are refused.
func TestUnknownDestinationsAreCounted(t *testing.T) {
	m, self, dir := speaking(t)
	counted := func(cluster string) {
		t.Helper()
		eventually(t, 30*time.Second, cluster, func() error {
			_, called := m.callFromPod(t, self, "greeting "+m.address(t, "server")+":7000 server")
			page, err := m.Exec(t.Context(), "caller", "curl", "-s", "127.0.0.1:15020/stats/prometheus")
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(page)) {
				if strings.HasPrefix(line, "istio_tcp_connections_opened_total{") && strings.Contains(line, `destination_service_name="`+cluster+`"`) {
					return nil
				}
			}
			return fmt.Errorf("no connection is counted (the call: %v)", called)
		})
	}
	counted("PassthroughCluster")
	save(t, filepath.Join(dir, "settings.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: weft-system}\ndata: {mesh: \"outboundTrafficPolicy: {mode: REGISTRY_ONLY}\"}\n")
	counted("BlackHoleCluster")
}
