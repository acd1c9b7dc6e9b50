package xds

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
)

// refused is why a stream ends by the pilot's will.
type refused struct {
	code  codes.Code
	label string // of the metric: identity, node, pod, starting, limit, slow, garbage, request, internal
	error
}

// Unwrap gives the reason itself.
func (r *refused) Unwrap() error { return r.error }

func refuse(code codes.Code, label, format string, args ...any) error {
	return &refused{code: code, label: label, error: fmt.Errorf(format, args...)}
}

// refusalOf classes an error that ended a stream.
func refusalOf(err error) *refused {
	var r *refused
	if errors.As(err, &r) {
		return r
	}
	return &refused{code: codes.InvalidArgument, label: "request", error: err}
}

func peerAddress(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return "unknown"
}
