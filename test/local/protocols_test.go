package local

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// Variables by which a pod of the mesh runs this binary: as the server of all
// protocols, or as a client that makes one call, "PROTOCOL ADDRESS HOST", and
// prints what came.
const (
	serveVariable = "WEFT_TEST_SERVE"
	callVariable  = "WEFT_TEST_CALL"
)

// serveProtocols serves HTTP and WebSocket on 8080, gRPC on 9000, a greeting to
// who connects to 7000, and the datagrams that come to it back.
func serveProtocols() error {
	mux := http.NewServeMux()
	mux.Handle("/ws", websocket.Handler(func(c *websocket.Conn) { _, _ = io.Copy(c, c) }))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s to %s\n", r.Proto, r.Host) })
	l, err := net.Listen("tcp", ":9000")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	failed := make(chan error, 4)
	go func() { failed <- greet(":7000") }()
	go func() { failed <- echoDatagrams(":7000") }()
	go func() { failed <- server.Serve(l) }()
	go func() {
		failed <- (&http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: time.Minute}).ListenAndServe()
	}()
	return <-failed
}

// call makes one call and says what came of it.
func call(line string) (string, error) {
	parts := strings.Fields(line)
	if len(parts) != 3 {
		return "", fmt.Errorf("%q is not PROTOCOL ADDRESS HOST", line)
	}
	address, host := parts[1], parts[2]
	switch parts[0] {
	case "websocket":
		return callWebSocket(address, host)
	case "grpc-web":
		return callGRPCWeb(address, host)
	case "http/1.0":
		return callRaw(address, "GET / HTTP/1.0\r\nHost: "+host+"\r\n\r\n")
	case "greeting":
		return callGreeting(address)
	case "datagram":
		return callDatagram(address, host)
	case "connect":
		return callRaw(address, "CONNECT "+host+":80 HTTP/1.1\r\nHost: "+host+":80\r\n\r\n")
	}
	return "", fmt.Errorf("no protocol %q", parts[0])
}

// callWebSocket sends two messages and wants both back.
func callWebSocket(address, host string) (string, error) {
	config, err := websocket.NewConfig("ws://"+host+"/ws", "http://"+host)
	if err != nil {
		return "", err
	}
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	ws, err := websocket.NewClient(config, conn)
	if err != nil {
		return "", err
	}
	var all []string
	for _, text := range []string{"one", "two"} {
		var back string
		if err := errors.Join(websocket.Message.Send(ws, text), websocket.Message.Receive(ws, &back)); err != nil {
			return "", err
		}
		all = append(all, back)
	}
	return "echoed " + strings.Join(all, " "), nil
}

// callGRPCWeb asks for the server's health as a browser would: over HTTP/1.1,
// each message in a frame of a byte, a length and the bytes, the trailers in
// the last one (grpc/grpc, PROTOCOL-WEB.md).
func callGRPCWeb(address, host string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/grpc.health.v1.Health/Check", bytes.NewReader(make([]byte, 5)))
	if err != nil {
		return "", err
	}
	req.Host = host
	req.Header.Set("Content-Type", "application/grpc-web+proto")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	out := resp.Header.Get("Content-Type")
	for len(body) >= 5 {
		n := 5 + int(binary.BigEndian.Uint32(body[1:5]))
		if n > len(body) {
			return "", fmt.Errorf("a frame of %d bytes in %d", n, len(body))
		}
		if content := body[5:n]; body[0]&0x80 != 0 {
			status, _, _ := strings.Cut(string(content), "\r\n")
			out += " trailers " + status
		} else {
			out += fmt.Sprintf(" message %x", content)
		}
		body = body[n:]
	}
	return fmt.Sprint(resp.StatusCode, " ", out), nil
}

// callRaw writes a request as it is and gives the status line.
func callRaw(address, request string) (string, error) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

// TestProtocols makes calls of each protocol with a client of its own, from a
// pod through both sidecars and through the gateway.
func TestProtocols(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := folder(t)
	text, err := os.ReadFile("testdata/protocols.yaml")
	if err != nil {
		t.Fatal(err)
	}
	replace := strings.NewReplacer("SELF", self, "BIN", binaries(t))
	save(t, filepath.Join(dir, "protocols.yaml"), replace.Replace(string(text)))
	save(t, filepath.Join(dir, "settings.yaml"), settings("0"))
	m := up(t, dir)
	door, err := url.Parse(m.url)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ protocol, want string }{
		{"websocket", "echoed one two"},
		{"grpc-web", "200 application/grpc-web+proto message 0801 trailers grpc-status:0"},
		{"http/1.0", "HTTP/1.1 426 Upgrade Required"},
		{"connect", "HTTP/1.1 404 Not Found"},
	} {
		address, host := "server:80", "server.example.com"
		if c.protocol == "grpc-web" {
			address, host = "server:9000", "web.example.com"
		}
		m.calls(t, c.protocol+" by the sidecars", c.want, func() (string, error) { return m.callFromPod(t, self, c.protocol+" "+address+" server") })
		m.calls(t, c.protocol+" by the gateway", c.want, func() (string, error) { return call(c.protocol + " " + door.Host + " " + host) })
	}
	m.calls(t, "websocket over HTTP/2 between sidecars", "echoed one two", func() (string, error) { return m.callFromPod(t, self, "websocket upgraded:80 upgraded") })
	m.calls(t, "websocket over HTTP/2 from the gateway", "echoed one two", func() (string, error) { return call("websocket " + door.Host + " upgraded.example.com") })
	save(t, filepath.Join(dir, "settings.yaml"), settings("1"))
	m.calls(t, "HTTP/1.0 by the sidecars, once it is allowed", "HTTP/1.0 200 OK", func() (string, error) { return m.callFromPod(t, self, "http/1.0 server:80 server") })
	m.calls(t, "HTTP/1.0 by the gateway, once it is allowed", "HTTP/1.0 200 OK", func() (string, error) { return call("http/1.0 " + door.Host + " server.example.com") })
	for range 20 {
		m.unreached(t, "by the sidecars", func() (string, error) { return m.callFromPod(t, self, "http/1.0 half:80 half") })
		m.unreached(t, "by the gateway", func() (string, error) { return call("http/1.0 " + door.Host + " half.example.com") })
	}
}

// unreached makes a call to half, whose app that does not listen is for its
// sidecar alone to find out. Each call must be answered by the other pod.
func (m *running) unreached(t *testing.T, way string, make func() (string, error)) {
	t.Helper()
	if got, err := make(); err != nil || got != "HTTP/1.0 200 OK" {
		t.Errorf("%s: got %q, %v; want the answer of the pod whose app listens", way, got, err)
	}
}

// settings are a MeshConfig that lets proxies take HTTP/1.0, or not.
func settings(http10 string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: weft-system}\ndata:\n  mesh: |\n    defaultConfig: {proxyMetadata: {ISTIO_META_HTTP10: \"" + http10 + "\"}}\n"
}

func (m *running) callFromPod(t *testing.T, self, line string) (string, error) {
	pods, err := m.PodsOf(t.Context(), "caller")
	if err != nil || len(pods) == 0 {
		return "", fmt.Errorf("no pod to call from: %w", err)
	}
	out, err := m.Exec(t.Context(), pods[0].Name, "env", callVariable+"="+line, self)
	return strings.TrimSpace(string(out)), err
}

// calls waits until what comes of a call is what is wanted; alternatives are
// told apart by "|".
func (m *running) calls(t *testing.T, what, want string, make func() (string, error)) {
	t.Helper()
	eventually(t, 30*time.Second, what, func() error {
		got, err := make()
		if err == nil && got != want {
			err = fmt.Errorf("got %q, want %q", got, want)
		}
		return err
	})
}
