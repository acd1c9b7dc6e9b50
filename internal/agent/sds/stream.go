package sds

import (
	"context"
	"errors"
	"io"
	"strconv"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// stream is one subscription. have maps each subscribed name to the version
// that Envoy holds, "" for none.
type stream struct {
	server *Server
	have   map[string]string
	nonce  int
	sent   map[string]map[string]string // versions by name, by the nonce of a response that is not answered
	acked  map[string]string            // version that Envoy works with; guarded by server.mu
	send   func(fresh []secret, nonce string) error
}

func (s *Server) newStream(send func([]secret, string) error) *stream {
	return &stream{server: s, have: map[string]string{}, sent: map[string]map[string]string{}, acked: map[string]string{}, send: send}
}

// subscribe refuses every name but the two.
func (t *stream) subscribe(name, version string) error {
	if name != Workload && name != Roots {
		t.server.log.Warn("secret refused", "name", name)
		return status.Errorf(codes.PermissionDenied, "sds: no secret %q here: only %q and %q", name, Workload, Roots)
	}
	t.have[name] = version
	return nil
}

// flush sends what Envoy lacks and returns the channel of the next change.
func (t *stream) flush() (<-chan struct{}, error) {
	held, changed := t.server.current(t.have)
	var fresh []secret
	for _, s := range held {
		if t.have[s.name] != s.version {
			fresh = append(fresh, s)
			t.have[s.name] = s.version
		}
	}
	if len(fresh) == 0 {
		return changed, nil
	}
	t.nonce++
	nonce := strconv.Itoa(t.nonce)
	t.sent[nonce] = map[string]string{}
	for _, s := range fresh {
		t.sent[nonce][s.name] = s.version
	}
	return changed, t.send(fresh, nonce)
}

// serve answers requests and changes until the stream ends. apply takes one
// request into the stream's state.
func serve[R any](ctx context.Context, t *stream, recv func() (R, error), apply func(R) error) error {
	requests, ended := make(chan R), make(chan error, 1)
	go func() {
		for {
			r, err := recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	var changed <-chan struct{}
	for {
		select {
		case r := <-requests:
			if err := apply(r); err != nil {
				return err
			}
		case <-changed:
		case err := <-ended:
			return endOf(err)
		case <-ctx.Done():
			return ctx.Err()
		}
		var err error
		if changed, err = t.flush(); err != nil {
			return err
		}
	}
}

func endOf(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// DeltaSecrets serves Envoy's DELTA_GRPC. A subscription that comes with the
// version that is current is answered with nothing.
func (s *Server) DeltaSecrets(g secretv3.SecretDiscoveryService_DeltaSecretsServer) error {
	t := s.newStream(func(fresh []secret, nonce string) error {
		out := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: TypeURL, Nonce: nonce}
		for _, f := range fresh {
			out.Resources = append(out.Resources, &discoveryv3.Resource{Name: f.name, Version: f.version, Resource: f.body})
		}
		return g.Send(out)
	})
	s.open(t)
	defer s.close(t)
	return serve(g.Context(), t, g.Recv, func(r *discoveryv3.DeltaDiscoveryRequest) error {
		t.answered(r.GetResponseNonce(), r.GetErrorDetail().GetMessage())
		for _, name := range r.GetResourceNamesUnsubscribe() {
			delete(t.have, name)
			t.gone(name)
		}
		for _, name := range r.GetResourceNamesSubscribe() {
			if err := t.subscribe(name, r.GetInitialResourceVersions()[name]); err != nil {
				return err
			}
			t.asked(name, t.have[name])
		}
		return nil
	})
}

// StreamSecrets serves Envoy's GRPC (state of the world) subscriptions.
func (s *Server) StreamSecrets(g secretv3.SecretDiscoveryService_StreamSecretsServer) error {
	t := s.newStream(func(fresh []secret, nonce string) error {
		return g.Send(wholeResponse(fresh, nonce))
	})
	s.open(t)
	defer s.close(t)
	return serve(g.Context(), t, g.Recv, func(r *discoveryv3.DiscoveryRequest) error {
		t.answered(r.GetResponseNonce(), r.GetErrorDetail().GetMessage())
		before := t.have
		t.have = map[string]string{}
		for _, name := range r.GetResourceNames() {
			if err := t.subscribe(name, before[name]); err != nil {
				return err
			}
			if _, had := before[name]; !had {
				t.asked(name, "")
			}
			delete(before, name)
		}
		for name := range before {
			t.gone(name)
		}
		return nil
	})
}

// FetchSecrets answers one REST-like request with what is held now.
func (s *Server) FetchSecrets(_ context.Context, r *discoveryv3.DiscoveryRequest) (*discoveryv3.DiscoveryResponse, error) {
	t := s.newStream(nil)
	for _, name := range r.GetResourceNames() {
		if err := t.subscribe(name, ""); err != nil {
			return nil, err
		}
	}
	held, _ := s.current(t.have)
	return wholeResponse(held, ""), nil
}

func wholeResponse(secrets []secret, nonce string) *discoveryv3.DiscoveryResponse {
	out := &discoveryv3.DiscoveryResponse{TypeUrl: TypeURL, Nonce: nonce}
	for _, f := range secrets {
		out.Resources = append(out.Resources, &anypb.Any{TypeUrl: TypeURL, Value: f.body.GetValue()})
		out.VersionInfo += f.version
	}
	return out
}
