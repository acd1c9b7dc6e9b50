package xdsproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// pilotFunc is a pilot that does one thing with each stream.
type pilotFunc struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	serve func(discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error
}

func (p pilotFunc) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return p.serve(s)
}

type adsServer = discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer

func startPilot(t *testing.T, serve func(adsServer) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessageSize))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, pilotFunc{serve: serve})
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

func newTestPilot(t *testing.T, addresses ...string) (*Pilot, *Metrics) {
	t.Helper()
	registry := prometheus.NewRegistry()
	metrics := NewMetrics(registry, registry)
	pilot, err := NewPilot(PilotOptions{Addresses: addresses, Log: slog.New(slog.DiscardHandler), Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pilot.Close() })
	return pilot, metrics
}

// relayTo returns a connection to a relay in front of the pilot.
func relayTo(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	pilot, metrics := newTestPilot(t, address)
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(pilot, metrics, slog.New(slog.DiscardHandler))
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageSize)),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(streamWindow))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func open(t *testing.T, conn *grpc.ClientConn) discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFrames: messages of any size come through as they were, both ways.
func TestFrames(t *testing.T) {
	conn := relayTo(t, startPilot(t, func(s adsServer) error {
		for {
			r, err := s.Recv()
			if err != nil {
				return err
			}
			body := []byte(r.GetResponseNonce())
			if err := s.Send(&discoveryv3.DeltaDiscoveryResponse{Nonce: r.GetTypeUrl(), Resources: []*discoveryv3.Resource{{Resource: &anypb.Any{Value: body}}}}); err != nil {
				return err
			}
		}
	}))
	stream := open(t, conn)
	for _, size := range []int{0, 1, 1 << 10, 1 << 20, 20 << 20, 3} {
		payload := strings.Repeat("x", size)
		if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: "t", ResponseNonce: payload}); err != nil {
			t.Fatal(err)
		}
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if r.GetNonce() != "t" || !bytes.Equal(r.GetResources()[0].GetResource().GetValue(), []byte(payload)) {
			t.Errorf("%d bytes came back changed", size)
		}
	}
}

// TestBackPressure: while Envoy does not read, the pilot cannot send on and on
// into the agent's memory.
func TestBackPressure(t *testing.T) {
	const message = 256 << 10
	var sent atomic.Int64
	progress := make(chan struct{}, 1)
	conn := relayTo(t, startPilot(t, func(s adsServer) error {
		big := &discoveryv3.DeltaDiscoveryResponse{Nonce: strings.Repeat("x", message)}
		for range 400 {
			if err := s.Send(big); err != nil {
				return err
			}
			sent.Add(1)
			select {
			case progress <- struct{}{}:
			default:
			}
		}
		return nil
	}))
	stream := open(t, conn)
	for stuck := false; !stuck; {
		select {
		case <-progress:
		case <-time.After(500 * time.Millisecond): // the condition: no progress for so long
			stuck = true
		}
	}
	if n := sent.Load() * message; n > 8<<20 {
		t.Errorf("%d bytes were sent to an Envoy that reads nothing", n)
	}
	got := 0
	for {
		if _, err := stream.Recv(); err != nil {
			break
		}
		got++
	}
	if got != 400 {
		t.Errorf("%d of 400 messages came", got)
	}
}

// TestPilotEnds: the end of the pilot's stream is an error to Envoy, so that it
// connects again; Envoy's end reaches the pilot.
func TestPilotEnds(t *testing.T) {
	ended := make(chan error, 1)
	conn := relayTo(t, startPilot(t, func(s adsServer) error {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		if r.GetTypeUrl() == "end" {
			return nil
		}
		_, err = s.Recv()
		ended <- err
		return err
	}))
	stream := open(t, conn)
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: "end"}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the pilot's end arrives as %v", err)
	}
	stream = open(t, conn)
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: "stay"}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("Envoy's end arrives as %v", err)
	}
}

func TestOnlyADS(t *testing.T) {
	conn := relayTo(t, startPilot(t, func(adsServer) error { return nil }))
	_, err := secretv3.NewSecretDiscoveryServiceClient(conn).FetchSecrets(t.Context(), &discoveryv3.DiscoveryRequest{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("another service is answered with %v", err)
	}
}

// TestBreaker opens after failures in a row, and lets the pilot be found again.
func TestBreaker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	pilot, _ := newTestPilot(t, address)
	pilot.conn.Connect()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for pilot.BreakerState() != gobreaker.StateOpen {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the breaker does not open")
		}
	}
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, pilotFunc{serve: func(s adsServer) error {
		return s.Send(&discoveryv3.DeltaDiscoveryResponse{})
	}})
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	begun := time.Now()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(pilot).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("the pilot was found after %v", took)
	}
}

func TestPlaintextIsForLoopback(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics := NewMetrics(registry, registry)
	for address, allowed := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "10.0.0.1:1": false, "weft-pilot.weft-system.svc:1": false, "nonsense": false,
	} {
		pilot, err := NewPilot(PilotOptions{Addresses: []string{address}, Log: slog.New(slog.DiscardHandler), Metrics: metrics})
		if (err == nil) != allowed {
			t.Errorf("%s: %v", address, err)
		}
		if err == nil {
			_ = pilot.Close()
		}
	}
}
