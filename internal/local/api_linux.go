package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/weftmesh/weft/internal/local/pod"
	"github.com/weftmesh/weft/internal/local/wire"
	"github.com/weftmesh/weft/internal/stream"
)

// api serves the commands of the mesh's user.
//
//	GET  /v1/mesh  {"name", "mode"}
//	GET  /v1/logs?namespace=&pod=&process=&tail=N&since=SECONDS&follow=true  text
//	POST /v1/exec  execCall; 101, then package wire: see serveExec
//
// Errors are plain text with an HTTP status.
type api struct {
	mesh *Mesh
	mux  *http.ServeMux
}

// execProtocol is what the connection of an exec is upgraded to.
const execProtocol = "weft-exec"

// execCall is the body of POST /v1/exec.
type execCall struct {
	Namespace string
	Pod       string
	Request   pod.ExecRequest
}

// execMessage goes both ways over an upgraded connection.
type execMessage struct {
	Signal syscall.Signal `json:",omitempty"` // client: for the command's group
	Exit   *pod.Exit      `json:",omitempty"` // mesh: it has ended
	Error  string         `json:",omitempty"` // mesh: it could not be run; Exit has a shell's code for that, or none
}

func newAPI(m *Mesh) *api {
	a := &api{mesh: m, mux: http.NewServeMux()}
	a.mux.HandleFunc("GET /v1/mesh", a.serveMesh)
	a.mux.HandleFunc("GET /v1/logs", a.serveLogs)
	a.mux.HandleFunc("POST /v1/exec", a.serveExec)
	return a
}

// serve accepts on the listener that the supervisor left open.
func (a *api) serve(fd int) error {
	f := os.NewFile(uintptr(fd), "api")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("API socket: %w", err)
	}
	server := &http.Server{Handler: a.mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(sameUser{l}) }() // until the process ends
	return nil
}

// sameUser refuses connections of other users than the mesh's.
type sameUser struct{ net.Listener }

// Accept implements net.Listener.
func (l sameUser) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		u, ok := c.(*net.UnixConn)
		if !ok {
			c.Close()
			continue
		}
		// Other users are not mapped in a user namespace: none of them looks
		// like this process's own, 0.
		if uid, err := peerUID(u); err == nil && uid == os.Getuid() {
			return c, nil
		}
		c.Close()
	}
}

func (a *api) serveMesh(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"name": a.mesh.Name(), "mode": string(a.mesh.Mode())})
}

// pod finds the pod of a request, or answers that there is none.
func (a *api) pod(w http.ResponseWriter, namespace, name string) *pod.Pod {
	p := a.mesh.Pod(namespace, name)
	if p == nil {
		http.Error(w, fmt.Sprintf("pod %s/%s: there is none (weft ps lists them)", namespace, name), http.StatusNotFound)
	}
	return p
}

func (a *api) serveLogs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p := a.pod(w, q.Get("namespace"), q.Get("pod"))
	if p == nil {
		return
	}
	log := p.Log(q.Get("process"))
	if log == nil {
		http.Error(w, fmt.Sprintf("process %q: pod %s has none of that name", q.Get("process"), q.Get("pod")), http.StatusNotFound)
		return
	}
	part, err := logPart(q, time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if q.Get("follow") != "true" {
		_, _ = w.Write(log.Tail(part)) // a client that is gone needs none
		return
	}
	_, _ = io.Copy(stream.To(w), log.Follow(r.Context(), part))
}

// logPart is how much of a log a request wants.
func logPart(q url.Values, now time.Time) (pod.Part, error) {
	part := pod.Part{Lines: -1}
	if text := q.Get("tail"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return part, fmt.Errorf("tail=%q: a number of lines is needed", text)
		}
		part.Lines = n
	}
	if text := q.Get("since"); text != "" {
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || !(seconds > 0) || seconds > 1e9 {
			return part, fmt.Errorf("since=%q: a number of seconds is needed", text)
		}
		part.Since = now.Add(-time.Duration(seconds * float64(time.Second)))
	}
	return part, nil
}

// serveExec runs a command in a pod. After 101 the client sends one execMessage
// with three files (standard input, output, error), then signals as it likes; the
// mesh sends one execMessage when the command has ended. A client that is gone
// ends the command.
func (a *api) serveExec(w http.ResponseWriter, r *http.Request) {
	var call execCall
	if err := json.NewDecoder(io.LimitReader(r.Body, 16<<20)).Decode(&call); err != nil {
		http.Error(w, "exec: "+err.Error(), http.StatusBadRequest)
		return
	}
	if r.Header.Get("Upgrade") != execProtocol {
		http.Error(w, "exec: header Upgrade: "+execProtocol+" is needed", http.StatusUpgradeRequired)
		return
	}
	p := a.pod(w, call.Namespace, call.Pod)
	if p == nil {
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "exec: "+err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+execProtocol+"\r\n\r\n"); err != nil {
		return
	}
	_ = conn.SetDeadline(time.Time{})
	upgraded := wire.New(conn.(*net.UnixConn))
	exit, err := a.exec(upgraded, p, call.Request)
	answer := execMessage{Exit: &exit}
	if err != nil {
		answer.Error = err.Error()
	}
	_ = upgraded.Send(answer) // a client that is gone needs none
}

func (a *api) exec(conn *wire.Conn, p *pod.Pod, request pod.ExecRequest) (pod.Exit, error) {
	var first execMessage
	fds, err := conn.Receive(&first)
	if err != nil {
		return pod.Exit{}, err
	}
	defer wire.CloseAll(fds)
	if len(fds) != 3 {
		return pod.Exit{}, errors.New("exec: three files are needed")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan syscall.Signal)
	go func() {
		defer cancel()
		for {
			var m execMessage
			more, err := conn.Receive(&m)
			if err != nil {
				return
			}
			wire.CloseAll(more)
			select {
			case signals <- m.Signal:
			case <-ctx.Done():
				return
			}
		}
	}()
	return p.Exec(ctx, request, [3]int(fds), signals)
}
