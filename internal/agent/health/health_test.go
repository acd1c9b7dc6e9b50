package health

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weftmesh/weft/internal/agent/appprobe"
)

// pilot hears what is said.
type pilot struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	said chan *discoveryv3.DeltaDiscoveryRequest
	cut  chan struct{} // each token ends a stream
}

func (p *pilot) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	go func() {
		for {
			r, err := s.Recv()
			if err != nil {
				return
			}
			p.said <- r
		}
	}()
	select {
	case <-p.cut:
		return errors.New("cut")
	case <-s.Context().Done():
		return s.Context().Err()
	}
}

// hears waits for a word; why is part of its error, "" that it is well.
func (p *pilot) hears(t *testing.T, why string) {
	t.Helper()
	select {
	case r := <-p.said:
		if r.TypeUrl != TypeURL || r.Node.GetId() != "machine" || (why == "") != (r.ErrorDetail == nil) || !strings.Contains(r.ErrorDetail.GetMessage(), why) {
			t.Fatalf("the pilot hears %v, want %q", r, why)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("the pilot does not hear %q", why)
	}
}

// The pilot hears of a process that it is not well until it was asked, then each
// change, the last word again on a new stream, and that the machine leaves.
func TestReporter(t *testing.T) {
	p := &pilot{said: make(chan *discoveryv3.DeltaDiscoveryRequest, 10), cut: make(chan struct{})}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, p)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	probe, err := Parse(`{"periodSeconds":1,"failureThreshold":1,"tcpSocket":{"port":8080}}`)
	if err != nil {
		t.Fatal(err)
	}
	var well atomic.Bool
	leaving := make(chan struct{})
	r := &Reporter{Probe: *probe, Leaving: leaving, Node: &corev3.Node{Id: "machine"}, Conn: conn, Log: slog.New(slog.DiscardHandler),
		Ask: func(context.Context, appprobe.Probe) error {
			if well.Load() {
				return nil
			}
			return errors.New("nobody listens")
		}}
	go func() { _ = r.Run(t.Context()) }()
	p.hears(t, "not asked yet")
	p.hears(t, "nobody listens")
	well.Store(true)
	p.hears(t, "")
	p.cut <- struct{}{}
	p.hears(t, "")
	well.Store(false)
	p.hears(t, "nobody listens")
	close(leaving)
	p.hears(t, "leaves")
}

func TestExec(t *testing.T) {
	for command, want := range map[string]string{`["true"]`: "", `["false"]`: "exit status 1", `["/no/such/program"]`: "no such file"} {
		p, err := Parse(`{"exec":{"command":` + command + `}}`)
		if err != nil {
			t.Fatal(err)
		}
		err = (&Reporter{Probe: *p}).ask(t.Context())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", command, err, want)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: "want one of", `{"exec":{}}`: "want one of", `{"exec":{"command":["x"]},"grpc":{"port":1}}`: "want one of",
		`{"tcpSocket":{"port":1},"periodSeconds":-1}`: "negative", `[]`: "cannot unmarshal",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if p, err := Parse(""); p != nil || err != nil {
		t.Errorf("no probe: %v, %v", p, err)
	}
}
