package agent_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/spiffe"
)

// testPilot is a small delta ADS server: what it holds, it sends to whoever
// subscribes. It can be stopped and started again at the same address.
type testPilot struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	t       *testing.T
	ca      *testCA
	address string
	server  *grpc.Server

	mu        sync.Mutex
	resources map[string]map[string]*discoveryv3.Resource // type, name
	changed   chan struct{}
	initial   []*discoveryv3.DeltaDiscoveryRequest // first request of each type on each stream
	peers     []spiffe.ID                          // of each stream
	sent      map[string]int                       // resources sent, by name
	nacks     []string
}

func newTestPilot(t *testing.T, ca *testCA) *testPilot {
	t.Helper()
	p := &testPilot{
		t: t, ca: ca, address: freeAddress(t), changed: make(chan struct{}),
		resources: map[string]map[string]*discoveryv3.Resource{}, sent: map[string]int{},
	}
	t.Cleanup(p.stop)
	return p
}

func (p *testPilot) start() {
	p.t.Helper()
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	cert := p.ca.issue(p.t, pilotID)
	tls := enroll.ServerTLS(cert.certificate, p.ca.roots(p.t), nil)
	p.server = grpc.NewServer(grpc.Creds(credentials.NewTLS(tls)))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(p.server, p)
	go func() { _ = p.server.Serve(l) }()
}

func (p *testPilot) stop() {
	if p.server != nil {
		p.server.Stop()
	}
}

// put sets one resource; an unchanged one keeps its version.
func (p *testPilot) put(name string, m proto.Message) {
	p.t.Helper()
	body, err := anypb.New(m)
	if err != nil {
		p.t.Fatal(err)
	}
	p.set(body.GetTypeUrl(), name, body)
}

func (p *testPilot) set(kind, name string, body *anypb.Any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resources[kind] == nil {
		p.resources[kind] = map[string]*discoveryv3.Resource{}
	}
	delete(p.resources[kind], name)
	if body != nil {
		sum := sha256.Sum256(body.GetValue())
		p.resources[kind][name] = &discoveryv3.Resource{Name: name, Version: hex.EncodeToString(sum[:4]), Resource: body}
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// firstRequests are those that opened each subscription to a type.
func (p *testPilot) firstRequests(kind string) []*discoveryv3.DeltaDiscoveryRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*discoveryv3.DeltaDiscoveryRequest
	for _, r := range p.initial {
		if r.GetTypeUrl() == kind {
			out = append(out, r)
		}
	}
	return out
}

// timesSent is how often a resource was sent, over all streams.
func (p *testPilot) timesSent(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent[name]
}

func (p *testPilot) seen() (peers []spiffe.ID, nacks []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.peers), slices.Clone(p.nacks)
}

// DeltaAggregatedResources serves one stream. Every type is a wildcard.
func (p *testPilot) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	p.notePeer(s.Context())
	requests := make(chan *discoveryv3.DeltaDiscoveryRequest)
	go func() {
		defer close(requests)
		for {
			r, err := s.Recv()
			if err != nil {
				return
			}
			select {
			case requests <- r:
			case <-s.Context().Done():
				return
			}
		}
	}()
	have, nonce := map[string]map[string]string{}, 0
	for {
		changed := p.change()
		for _, kind := range slices.Sorted(maps.Keys(have)) {
			if out := p.delta(kind, have[kind], nonce == 0); out != nil {
				nonce++
				out.Nonce = strconv.Itoa(nonce)
				if err := s.Send(out); err != nil {
					return err
				}
			}
		}
		select {
		case r, ok := <-requests:
			if !ok {
				return nil
			}
			p.note(r, have)
		case <-changed:
		}
	}
}

func (p *testPilot) change() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

func (p *testPilot) notePeer(ctx context.Context) {
	id := peerID(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peers = append(p.peers, id)
}

func (p *testPilot) note(r *discoveryv3.DeltaDiscoveryRequest, have map[string]map[string]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.GetErrorDetail() != nil {
		p.nacks = append(p.nacks, r.GetErrorDetail().GetMessage())
	}
	if have[r.GetTypeUrl()] == nil {
		p.initial = append(p.initial, r)
		have[r.GetTypeUrl()] = maps.Clone(r.GetInitialResourceVersions())
		if have[r.GetTypeUrl()] == nil {
			have[r.GetTypeUrl()] = map[string]string{"": "never answered"}
		}
	}
}

// delta is what a stream lacks of one type, nil for nothing. The first answer
// is sent though it be empty: Envoy waits for it.
func (p *testPilot) delta(kind string, have map[string]string, _ bool) *discoveryv3.DeltaDiscoveryResponse {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: kind}
	for _, name := range slices.Sorted(maps.Keys(p.resources[kind])) {
		if r := p.resources[kind][name]; have[name] != r.GetVersion() {
			out.Resources = append(out.Resources, r)
			have[name] = r.GetVersion()
			p.sent[name]++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, ok := p.resources[kind][name]; !ok && name != "" {
			out.RemovedResources = append(out.RemovedResources, name)
			delete(have, name)
		}
	}
	_, first := have[""]
	delete(have, "")
	if !first && len(out.GetResources()) == 0 && len(out.GetRemovedResources()) == 0 {
		return nil
	}
	return out
}
