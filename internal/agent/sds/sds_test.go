package sds

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

func identity(n int) Identity {
	return Identity{Chain: fmt.Appendf(nil, "chain %d", n), Key: fmt.Appendf(nil, "key %d", n), Roots: []byte("roots")}
}

// dial serves s on a Unix socket and returns a client of it.
func dial(t *testing.T, s *Server) secretv3.SecretDiscoveryServiceClient {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	s.Register(server)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return secretv3.NewSecretDiscoveryServiceClient(conn)
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func newTestServer() *Server { return New(slog.New(slog.DiscardHandler)) }

// TestDelta: an early subscription waits for the first identity; of a new one
// only what differs is sent.
func TestDelta(t *testing.T) {
	s := newTestServer()
	stream, err := dial(t, s).DeltaSecrets(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: TypeURL, ResourceNamesSubscribe: []string{Workload, Roots}}); err != nil {
		t.Fatal(err)
	}
	for n, want := range [][]string{{Roots, Workload}, {Workload}, {Workload}} {
		if err := s.Set(identity(n)); err != nil {
			t.Fatal(err)
		}
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, resource := range r.GetResources() {
			names = append(names, resource.GetName())
		}
		if !slices.Equal(names, want) {
			t.Fatalf("set %d sends %v, want %v", n, names, want)
		}
		secret := new(tlsv3.Secret)
		if err := r.GetResources()[len(names)-1].GetResource().UnmarshalTo(secret); err != nil {
			t.Fatal(err)
		}
		if got := string(secret.GetTlsCertificate().GetPrivateKey().GetInlineBytes()); got != fmt.Sprintf("key %d", n) {
			t.Errorf("set %d sends key %q", n, got)
		}
		ack := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: TypeURL, ResponseNonce: r.GetNonce()}
		if err := stream.Send(ack); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDeltaKnownVersion: an Envoy that comes back to a new agent with the same
// certificate gets nothing until there is another.
func TestDeltaKnownVersion(t *testing.T) {
	s := newTestServer()
	if err := s.Set(identity(1)); err != nil {
		t.Fatal(err)
	}
	held, _ := s.current(map[string]string{Workload: ""})
	stream, err := dial(t, s).DeltaSecrets(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: TypeURL, ResourceNamesSubscribe: []string{Workload},
		InitialResourceVersions: map[string]string{Workload: held[0].version},
	})
	if err != nil {
		t.Fatal(err)
	}
	// The roots, asked for after it, are answered first: the workload's was not.
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: TypeURL, ResourceNamesSubscribe: []string{Roots}}); err != nil {
		t.Fatal(err)
	}
	r, err := stream.Recv()
	if err != nil || len(r.GetResources()) != 1 || r.GetResources()[0].GetName() != Roots {
		t.Errorf("got %v, %v", r, err)
	}
}

func TestWhole(t *testing.T) {
	s := newTestServer()
	client := dial(t, s)
	stream, err := client.StreamSecrets(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	request := &discoveryv3.DiscoveryRequest{TypeUrl: TypeURL, ResourceNames: []string{Workload}}
	for n := range 3 {
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		if err := s.Set(identity(n)); err != nil {
			t.Fatal(err)
		}
		r, err := stream.Recv()
		if err != nil || len(r.GetResources()) != 1 {
			t.Fatalf("%v, %v", r, err)
		}
		request.VersionInfo, request.ResponseNonce = r.GetVersionInfo(), r.GetNonce()
	}
	r, err := client.FetchSecrets(bounded(t), &discoveryv3.DiscoveryRequest{ResourceNames: []string{Workload, Roots}})
	if err != nil || len(r.GetResources()) != 2 {
		t.Errorf("%v, %v", r, err)
	}
}

func TestOtherNamesAreRefused(t *testing.T) {
	s := newTestServer()
	if err := s.Set(identity(1)); err != nil {
		t.Fatal(err)
	}
	client := dial(t, s)
	delta, err := client.DeltaSecrets(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := delta.Send(&discoveryv3.DeltaDiscoveryRequest{ResourceNamesSubscribe: []string{"file-cert:/etc/shadow"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := delta.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("delta: %v", err)
	}
	whole, err := client.StreamSecrets(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := whole.Send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{Workload, "kubernetes://other"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := whole.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("state of the world: %v", err)
	}
	if _, err := client.FetchSecrets(bounded(t), &discoveryv3.DiscoveryRequest{ResourceNames: []string{"x"}}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("fetch: %v", err)
	}
}

func TestTheKeyIsNotPrinted(t *testing.T) {
	id := identity(1)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "id", id)
	for _, text := range []string{log.String(), fmt.Sprint(id), fmt.Sprintf("%v %s", id, id)} {
		if strings.Contains(text, "key") {
			t.Errorf("printed: %s", text)
		}
	}
}

// TestTaken: what Envoy has acknowledged counts, and what was only sent does not.
func TestTaken(t *testing.T) {
	s := newTestServer()
	if chain, roots := s.Taken(); chain != nil || roots != nil {
		t.Errorf("taken before the first: %q, %q", chain, roots)
	}
	set := func(n int) {
		t.Helper()
		id := identity(n)
		id.Roots = fmt.Appendf(nil, "roots %d", n)
		if err := s.Set(id); err != nil {
			t.Fatal(err)
		}
	}
	taken := func(chain, roots string) {
		t.Helper()
		deadline := time.After(10 * time.Second)
		for {
			gotChain, gotRoots := s.Taken()
			if string(gotChain) == chain && string(gotRoots) == roots {
				return
			}
			select {
			case <-deadline:
				t.Fatalf("taken: %q, %q; want %q, %q", gotChain, gotRoots, chain, roots)
			case <-time.After(time.Millisecond):
			}
		}
	}
	set(1)
	if chain, roots := s.Taken(); chain != nil || roots != nil {
		t.Errorf("taken by nobody, who may have something older: %q, %q", chain, roots)
	}
	s.mu.Lock()
	s.reconnects = 0 // that time is over
	s.mu.Unlock()
	taken("chain 1", "roots 1") // nobody has asked: who asks gets these
	stream, err := dial(t, s).DeltaSecrets(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	answer := func(request *discoveryv3.DeltaDiscoveryRequest) *discoveryv3.DeltaDiscoveryResponse {
		t.Helper()
		request.TypeUrl = TypeURL
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := answer(&discoveryv3.DeltaDiscoveryRequest{ResourceNamesSubscribe: []string{Roots}})
	set(2) // sent once the first is acknowledged or not: the stream does not wait
	taken("chain 2", "roots 1")
	second, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	set(3)
	third := answer(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: r.GetNonce()})
	taken("chain 3", "roots 1")
	for _, sent := range []*discoveryv3.DeltaDiscoveryResponse{second, third} {
		if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: TypeURL, ResponseNonce: sent.GetNonce()}); err != nil {
			t.Fatal(err)
		}
	}
	taken("chain 3", "roots 3")
}
