package ca

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/ca/internal/issue"
	"github.com/weftmesh/weft/ca/internal/refusal"
)

// service is istio.v1.auth.IstioCertificateService. A token is the only proof it
// takes: renewing by the old certificate would let a stolen key live for ever.
type service struct {
	securityapi.UnimplementedIstioCertificateServiceServer
	proof   identity.Authenticator
	issuer  func() *issue.Issuer // of the key in force
	rate    *limiter[identity.Pod]
	peers   *limiter[netip.Addr]
	metrics *metrics
	log     *slog.Logger
}

// CreateCertificate proves the caller and answers its CSR. Refusals carry their
// reason; gRPC codes: Unauthenticated for the token, ResourceExhausted for the
// rate, PermissionDenied for what the caller may not have, InvalidArgument for a
// broken request, Unavailable and Internal for the CA's own faults.
func (s *service) CreateCertificate(ctx context.Context, req *securityapi.IstioCertificateRequest) (*securityapi.IstioCertificateResponse, error) {
	start := time.Now()
	s.metrics.requests.Inc()
	caller, issued, err := s.create(ctx, req)
	s.metrics.done(time.Since(start), err)
	if err != nil {
		s.logRefusal(ctx, caller, err)
		return nil, answer(err)
	}
	s.log.Info("certificate issued", "id", caller.ID.String(), "pod", caller.Pod.Name, "workload", caller.Workload,
		"serial", issued.Leaf.SerialNumber.Text(16), "notAfter", issued.Leaf.NotAfter)
	return &securityapi.IstioCertificateResponse{CertChain: issued.Chain}, nil
}

func (s *service) create(ctx context.Context, req *securityapi.IstioCertificateRequest) (identity.Caller, *issue.Issued, error) {
	token, err := identity.Bearer(metadata.ValueFromIncomingContext(ctx, "authorization"))
	if err != nil {
		return identity.Caller{}, nil, err
	}
	if from := peerAddress(ctx); !s.peers.allow(from, time.Now()) {
		return identity.Caller{}, nil, refusal.New(refusal.Rate, "address %s asks more than %d times at once and once in %v", from, addressBurst, addressEvery)
	}
	caller, err := s.proof.Authenticate(ctx, token)
	if err != nil {
		return identity.Caller{}, nil, err
	}
	if !s.rate.allow(podOf(caller), time.Now()) {
		return caller, nil, refusal.New(refusal.Rate, "pod %s of %s asks more than %d times at once and once in %v", caller.Pod.Name, caller.ID, rateBurst, rateEvery)
	}
	issued, err := s.issuer().Issue(issue.Request{Caller: caller, CSR: req.GetCsr(), TTL: seconds(req.GetValidityDuration())})
	return caller, issued, err
}

// peerAddress is the caller's, without its port.
func peerAddress(ctx context.Context) netip.Addr {
	if p, ok := peer.FromContext(ctx); ok {
		return ipOf(p.Addr)
	}
	return netip.Addr{}
}

// seconds is n seconds; a number that no Duration can hold becomes the longest.
func seconds(n int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Second)
	return time.Duration(max(min(n, most), -most)) * time.Second
}

func (s *service) logRefusal(ctx context.Context, caller identity.Caller, err error) {
	from := "unknown"
	if p, ok := peer.FromContext(ctx); ok {
		from = p.Addr.String()
	}
	s.log.Warn("certificate refused", "reason", refusal.Of(err), "error", err,
		"peer", from, "id", caller.ID.String(), "pod", caller.Pod.Name)
}

// answer is what the caller learns: all of a refusal, nothing of a fault.
func answer(err error) error {
	var r *refusal.Error
	if !errors.As(err, &r) {
		return status.Error(codes.Internal, string(refusal.Internal))
	}
	switch r.Reason {
	case refusal.Rate:
		return status.Error(codes.ResourceExhausted, r.Error())
	case refusal.CSRName, refusal.CSRAuthority, refusal.CSRExtension:
		return status.Error(codes.PermissionDenied, r.Error())
	case refusal.CSROversized, refusal.CSRMalformed, refusal.CSRSignature, refusal.CSRKey, refusal.CSRValidity:
		return status.Error(codes.InvalidArgument, r.Error())
	case refusal.AuthorityExpired, refusal.KubernetesAway:
		return status.Error(codes.Unavailable, r.Error())
	case refusal.Backend, refusal.BadLeaf, refusal.Internal:
		return status.Error(codes.Internal, string(r.Reason))
	default: // the token's reasons
		return status.Error(codes.Unauthenticated, r.Error())
	}
}

// recoverPanics turns a panic of a handler into an Internal error: one caller's
// request must not take the CA down.
func (s *service) recoverPanics(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (reply any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.metrics.done(0, fmt.Errorf("panic"))
			s.log.Error("panic in a call", "panic", p, "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, string(refusal.Internal))
		}
	}()
	return next(ctx, req)
}
