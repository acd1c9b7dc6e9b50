package envoy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/internal/simulate"
)

// Dial opens a connection to the listener that a call goes to, for who speaks on
// it by himself. Of the call it takes Listener, Source, Destination and TLS.
func (p *Proxy) Dial(ctx context.Context, call simulate.Call) (net.Conn, error) {
	var port atomic.Uint32
	dial, err := p.dialer(call, &port)
	if err != nil {
		return nil, err
	}
	return dial(ctx)
}

// DoRaw makes a call whose request target is written as it is, byte by byte,
// for Go's client mends or refuses what an attacker sends. The call's Path is
// that target; of the rest it takes Method, Host, Headers, TLS, and where to.
func (p *Proxy) DoRaw(ctx context.Context, call simulate.Call) (Observed, error) {
	conn, err := p.Dial(ctx, call)
	if err != nil {
		return Observed{}, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	name := strconv.FormatInt(p.calls.Add(1), 10)
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\nConnection: close\r\n", call.Method, call.Path, call.Host, callHeader, name)
	for key, values := range call.Headers {
		for _, value := range values {
			head += key + ": " + value + "\r\n"
		}
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return Observed{Closed: err.Error()}, nil
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return Observed{Closed: err.Error()}, nil
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Observed{Closed: err.Error()}, nil
	}
	out := Observed{Status: resp.StatusCode, Body: string(body)}
	out.Seen, _ = p.echoes.of(name)
	return out, nil
}
