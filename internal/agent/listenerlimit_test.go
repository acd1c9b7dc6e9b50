package agent_test

import (
	"bufio"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/agent/node"
)

// TestGatewayListenerLimit: each listener of a gateway takes as many connections as
// connectionSettings.listenerConnectionLimit says, those that come later too, and
// after Envoy's death.
//
// Source: istio.io/api mesh/v1alpha1, ConnectionSettings.listenerConnectionLimit.
func TestGatewayListenerLimit(t *testing.T) {
	m := newMesh(t)
	m.pod.config.Options.Node.Role = node.Router
	m.pod.config.Options.Envoy.InboundLimit = 1
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	eventually(t, "the second connection is closed", func() bool { return bounded(m.plain.port) })
	later := inbound{port: freePort(t), body: "later"}
	m.pilot.put("later", later.listener(t))
	eventually(t, "a later listener's is too", func() bool { return bounded(later.port) })
	pid := m.pod.envoyPID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "so are those of the next Envoy", func() bool { return m.pod.envoyPID() != pid && bounded(m.plain.port) && bounded(later.port) })
}

// bounded reports whether a listener serves one connection, and at the same time
// closes another at once.
func bounded(port uint16) bool {
	first, ok := served(port)
	if !ok {
		return false
	}
	defer first.Close()
	second, ok := served(port)
	if ok {
		second.Close()
	}
	return !ok
}

// served is a connection that has had an answer and stays open.
func served(port uint16) (net.Conn, bool) {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 5*time.Second)
	if err != nil {
		return nil, false
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err == nil {
		if _, err = bufio.NewReader(conn).ReadString('\n'); err == nil {
			return conn, true
		}
	}
	conn.Close()
	return nil, false
}
