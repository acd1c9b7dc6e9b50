package xdsproxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// adsService is the one service that is relayed.
// Source: envoy.service.discovery.v3.AggregatedDiscoveryService.
const adsService = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"

var streamDesc = &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}

// NewServer is the gRPC server for Envoy's side: serve it on the Unix socket.
// A frame is read from one side only once the last one has been sent to the
// other, so that flow control goes through from end to end.
func NewServer(p *Pilot, m *Metrics, log *slog.Logger) *grpc.Server {
	r := &relay{pilot: p, metrics: m, log: log}
	return grpc.NewServer(
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.UnknownServiceHandler(r.handle),
		grpc.MaxRecvMsgSize(maxMessageSize),
		grpc.InitialWindowSize(streamWindow), grpc.InitialConnWindowSize(2*streamWindow),
		grpc.MaxConcurrentStreams(128), // Envoy opens one, grpc-go one for each target
	)
}

type relay struct {
	pilot   *Pilot
	metrics *Metrics
	log     *slog.Logger
}

// handle relays one stream until either side ends it. While the pilot is not
// there the stream is kept open and nothing is read from it; once it has been
// there and goes away, the stream ends, for only a new one makes Envoy say
// again what it wants and has.
func (r *relay) handle(_ any, down grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(down)
	if !strings.HasPrefix(method, adsService) {
		return status.Errorf(codes.Unimplemented, "xdsproxy: %s is not relayed, only %s", method, adsService)
	}
	ctx, cancel := context.WithCancel(down.Context())
	defer cancel()
	up, err := r.pilot.NewStream(ctx, streamDesc, method, grpc.ForceCodecV2(rawCodec{}))
	if err != nil {
		return err
	}
	r.metrics.streams.Inc()
	defer r.metrics.streams.Dec()
	go func() {
		if err := r.pump(down, up, r.metrics.requests.Inc); errors.Is(err, io.EOF) {
			_ = up.CloseSend() // Envoy has ended its half; the pilot ends the rest
		} else {
			cancel()
		}
	}()
	return r.ended(down, r.pump(up, down, r.metrics.responses.Inc))
}

// ended says why a stream ended, and returns what Envoy is told.
func (r *relay) ended(down grpc.ServerStream, err error) error {
	if down.Context().Err() != nil {
		r.metrics.byEnvoy.Inc()
		return down.Context().Err()
	}
	r.metrics.byPilot.Inc()
	r.log.Info("stream to the pilot ended", "reason", err)
	if errors.Is(err, io.EOF) {
		return status.Error(codes.Unavailable, "the pilot ended the stream")
	}
	return err
}

// stream is what client and server streams have in common.
type stream interface {
	RecvMsg(m any) error
	SendMsg(m any) error
}

// pump moves frames from one stream to another until either fails.
func (r *relay) pump(from, to stream, count func()) error {
	for {
		var f frame
		if err := from.RecvMsg(&f); err != nil {
			return err
		}
		count()
		if err := to.SendMsg(&f); err != nil {
			return err
		}
	}
}
