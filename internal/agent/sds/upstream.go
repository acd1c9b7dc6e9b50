package sds

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"
)

// Pauses before an upstream that is away is asked again; each is spread at random.
const (
	upstreamFirst = 100 * time.Millisecond
	upstreamMost  = 5 * time.Second
	// maxSecrets bounds one answer, in bytes: a bundle may have many roots.
	maxSecrets = 4 << 20
)

// Upstream gets the two secrets from another SDS server on a Unix socket, such as
// SPIRE's agent, and has a Server serve them as they are. That server needs to know
// no more than state-of-the-world streams.
type Upstream struct {
	Socket string // path
	To     *Server
	Log    *slog.Logger
	Got    func(*tlsv3.Secret) // called with each secret that is new; nil: nobody
}

// Run relays until ctx is done, and returns its error. While the socket is away the
// last secrets are served on.
func (u *Upstream) Run(ctx context.Context) error {
	conn, err := grpc.NewClient("unix:"+u.Socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a socket of this pod's; who asks is known by its process
		grpc.WithNoProxy(), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxSecrets)))
	if err != nil {
		return fmt.Errorf("sds: %s: %w", u.Socket, err)
	}
	defer func() { _ = conn.Close() }()
	pause, last := upstreamFirst, ""
	for {
		got, err := u.relay(ctx, conn)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if got {
			pause, last = upstreamFirst, ""
		}
		if text := err.Error(); text != last { // once, not at each attempt
			last = text
			u.Log.Warn("the socket of the workload's secrets is away; will try again", "socket", u.Socket, "error", err)
		}
		timer := time.NewTimer(time.Duration(float64(pause) * (0.5 + rand.Float64()/2)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		pause = min(2*pause, upstreamMost)
	}
}

// relay serves what one stream brings until it ends, and reports whether it brought
// anything that could be used.
func (u *Upstream) relay(ctx context.Context, conn *grpc.ClientConn) (got bool, err error) {
	stream, err := secretv3.NewSecretDiscoveryServiceClient(conn).StreamSecrets(ctx)
	if err != nil {
		return false, err
	}
	request := &discoveryv3.DiscoveryRequest{TypeUrl: TypeURL, ResourceNames: []string{Workload, Roots}}
	for {
		if err := stream.Send(request); err != nil {
			return got, err
		}
		response, err := stream.Recv()
		if err != nil {
			return got, err
		}
		request.ResponseNonce, request.ErrorDetail = response.GetNonce(), nil
		if err := u.take(response); err != nil {
			u.Log.Error("secrets refused", "socket", u.Socket, "error", err)
			request.ErrorDetail = &status.Status{Code: int32(codes.InvalidArgument), Message: err.Error()}
			continue
		}
		request.VersionInfo, got = response.GetVersionInfo(), true
	}
}

// take hands on all secrets of a response, or none.
func (u *Upstream) take(response *discoveryv3.DiscoveryResponse) error {
	fresh := map[string]secret{}
	var bodies []*tlsv3.Secret
	for _, packed := range response.GetResources() {
		s, body, err := relayed(packed)
		if err != nil {
			return err
		}
		fresh[s.name] = s
		bodies = append(bodies, body)
	}
	u.To.relay(fresh)
	for _, body := range bodies {
		if u.Got != nil {
			u.Got(body)
		}
	}
	return nil
}

// relayed reads one secret as it came. It must be one of the two, of the kind that
// Envoy expects under its name.
func relayed(packed *anypb.Any) (secret, *tlsv3.Secret, error) {
	body := new(tlsv3.Secret)
	if err := packed.UnmarshalTo(body); err != nil {
		return secret{}, nil, fmt.Errorf("not a secret: %s", packed.GetTypeUrl()) // the library's text may quote a key
	}
	var public []byte
	switch {
	case body.GetName() == Workload && body.GetTlsCertificate() != nil:
		public = body.GetTlsCertificate().GetCertificateChain().GetInlineBytes()
	case body.GetName() == Roots && body.GetValidationContext() != nil:
		public = body.GetValidationContext().GetTrustedCa().GetInlineBytes()
	default:
		return secret{}, nil, fmt.Errorf("secret %q: want %q with a certificate, or %q with a validation context", body.GetName(), Workload, Roots)
	}
	return secret{name: body.GetName(), version: versionOf(packed.GetValue()), public: public, body: packed}, body, nil
}

// relay puts secrets in the place of those of the same name.
func (s *Server) relay(fresh map[string]secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, held := range fresh {
		s.secrets[name] = held
	}
	close(s.changed)
	s.changed = make(chan struct{})
}
