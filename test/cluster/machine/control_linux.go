package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// Operations of a Request.
const (
	Ping  = "ping"  // answer when ready
	Start = "start" // a program, or (asked of the keeper) a machine
	Stop  = "stop"  // it, at once, by SIGKILL
	Down  = "down"  // end the cluster (keeper)
)

// Request asks the keeper or a machine for one Operation.
type Request struct {
	Operation string
	// Name is that of the program or machine.
	Name string
}

// Response is the answer to a Request.
type Response struct {
	// Error is empty when the operation succeeded.
	Error string
	// Pids are those of running machines by name, as the host counts them (keeper
	// only).
	Pids map[string]int `json:",omitempty"`
}

// requestTime bounds one request; ending a cluster is the longest.
const requestTime = 60 * time.Second

// Ask sends one request to the socket at path.
func Ask(path string, req Request) (Response, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return Response{}, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(requestTime)); err != nil {
		return Response{}, err
	}
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return Response{}, fmt.Errorf("ask %s: %w", path, err)
	}
	var resp Response
	if err := json.NewDecoder(conn).Decode(&resp); err != nil {
		return Response{}, fmt.Errorf("answer of %s to %s %s: %w", path, req.Operation, req.Name, err)
	}
	if resp.Error != "" {
		return resp, errors.New(resp.Error)
	}
	return resp, nil
}

// serve answers requests at the socket at path until the listener is closed.
func serve(path string, answer func(Request) (Response, error)) (net.Listener, error) {
	_ = os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go reply(conn, answer)
		}
	}()
	return listener, nil
}

func reply(conn net.Conn, answer func(Request) (Response, error)) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(requestTime))
	var req Request
	if err := json.NewDecoder(conn).Decode(&req); err != nil {
		return
	}
	resp, err := answer(req)
	if err != nil {
		resp.Error = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(resp)
}
