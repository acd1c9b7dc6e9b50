package ca

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"strconv"
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
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/fair"
)

// service is istio.v1.auth.IstioCertificateService. A token is the only proof it
// takes: renewing by the old certificate would let a stolen key live for ever.
type service struct {
	securityapi.UnimplementedIstioCertificateServiceServer
	proof identity.Authenticator
	// admit waits for a moment in which certificates may be issued, and gives what
	// issues them; done comes after it.
	admit   func(context.Context) (issuer *issue.Issuer, done func(), err error)
	roster  *roster
	epoch   func() enroll.Answer // what proxies are told
	rate    *limiter[identity.Pod]
	peers   *limiter[netip.Addr]
	turns   *fair.Turns
	metrics *metrics
	log     *slog.Logger
}

// CreateCertificate proves the caller and answers its CSR. Refusals carry their
// reason; gRPC codes: Unauthenticated for the token, ResourceExhausted for the
// rate and the crowd, PermissionDenied for what the caller may not have, InvalidArgument for a
// broken request, Unavailable and Internal for the CA's own faults.
func (s *service) CreateCertificate(ctx context.Context, req *securityapi.IstioCertificateRequest) (*securityapi.IstioCertificateResponse, error) {
	start := time.Now()
	s.metrics.requests.Inc()
	caller, issued, err := s.create(ctx, req)
	s.metrics.done(time.Since(start), err)
	if err != nil {
		s.logRefusal(ctx, caller, err)
		return nil, s.answer(ctx, err)
	}
	s.log.Info("certificate issued", "id", caller.ID.String(), "pod", caller.Pod.Name, "workload", caller.Workload,
		"serial", issued.Leaf.SerialNumber.Text(16), "notAfter", issued.Leaf.NotAfter)
	return &securityapi.IstioCertificateResponse{CertChain: issued.Chain}, nil
}

func (s *service) create(ctx context.Context, req *securityapi.IstioCertificateRequest) (caller identity.Caller, issued *issue.Issued, err error) {
	err = s.inTurn(ctx, func(token identity.Token) error {
		if caller, err = s.prove(ctx, token); err != nil {
			return err
		}
		issued, err = s.issue(ctx, caller, req)
		return err
	})
	return caller, issued, err
}

// issue signs for a proven caller, as soon as the stage of a rotation lets it.
func (s *service) issue(ctx context.Context, caller identity.Caller, req *securityapi.IstioCertificateRequest) (*issue.Issued, error) {
	issuer, done, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	issued, err := issuer.Issue(issue.Request{Caller: caller, CSR: req.GetCsr(), TTL: seconds(req.GetValidityDuration())})
	if err == nil { // before the caller has it
		s.roster.issued(caller, issued.Leaf.NotAfter)
	}
	return issued, err
}

// Report implements enroll.TrustServer: a caller says what it trusts and what it
// has, and learns what the CA signs by.
func (s *service) Report(ctx context.Context, r enroll.Report) (enroll.Answer, error) {
	var caller identity.Caller
	err := s.inTurn(ctx, func(token identity.Token) (err error) {
		caller, err = s.prove(ctx, token)
		return err
	})
	if err != nil {
		s.logRefusal(ctx, caller, err)
		return enroll.Answer{}, s.answer(ctx, err)
	}
	told := s.epoch()
	s.roster.told(caller, r, time.Now())
	return told, nil
}

// inTurn does the work for a call that has a token, within the limit of its
// address, when it is its turn.
func (s *service) inTurn(ctx context.Context, work func(identity.Token) error) error {
	token, err := identity.Bearer(metadata.ValueFromIncomingContext(ctx, "authorization"))
	if err != nil {
		return err
	}
	from := peerAddress(ctx)
	if !s.peers.allow(from, time.Now()) {
		return refusal.New(refusal.Rate, "address %s asks more than %d times at once and once in %v", from, addressBurst, addressEvery)
	}
	done, err := s.turns.Take(ctx, identity.Claimed(token), from.String())
	if err != nil {
		return refusal.New(refusal.Crowded, "%w", err)
	}
	defer done() // also after a panic
	return work(token)
}

// prove finds out who calls, within the limit of its pod.
func (s *service) prove(ctx context.Context, token identity.Token) (identity.Caller, error) {
	caller, err := s.proof.Authenticate(ctx, token)
	if err != nil {
		return identity.Caller{}, err
	}
	if !s.rate.allow(podOf(caller), time.Now()) {
		return caller, refusal.New(refusal.Rate, "pod %s of %s asks more than %d times at once and once in %v", caller.Pod.Name, caller.ID, rateBurst, rateEvery)
	}
	return caller, nil
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

// answer is what the caller learns: all of a refusal, nothing of a fault; and how
// long to stay away, where asking again at once would be in vain.
func (s *service) answer(ctx context.Context, err error) error {
	if wait := pause[refusal.Of(err)]; wait > 0 {
		_ = grpc.SetTrailer(ctx, metadata.Pairs(enroll.Pushback, strconv.FormatInt(wait.Milliseconds(), 10))) // a caller that is gone needs none
	}
	return answer(err)
}

func answer(err error) error {
	var r *refusal.Error
	if !errors.As(err, &r) {
		return status.Error(codes.Internal, string(refusal.Internal))
	}
	switch r.Reason {
	case refusal.Rate, refusal.Crowded:
		return status.Error(codes.ResourceExhausted, r.Error())
	case refusal.CSRName, refusal.CSRAuthority, refusal.CSRExtension:
		return status.Error(codes.PermissionDenied, r.Error())
	case refusal.CSROversized, refusal.CSRMalformed, refusal.CSRSignature, refusal.CSRKey, refusal.CSRValidity:
		return status.Error(codes.InvalidArgument, r.Error())
	case refusal.AuthorityExpired, refusal.KubernetesAway, refusal.RootChanges:
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
