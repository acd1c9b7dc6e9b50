package envoy

import (
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	xtype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	status "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/simulate"
)

// authorizerClusters begin so: their endpoints are external authorizers.
const authorizerClusters = "authz|"

// authorizing makes authorizers answer so for the calls that follow; it returns
// what they have been asked since. One call at a time: an authorizer is not told
// which it is.
func (e *echoes) authorizing(answers map[string]simulate.Authorizer) (asked func() []simulate.Check) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.authorizers = answers
	before := len(e.checks)
	return func() []simulate.Check {
		e.mu.Lock()
		defer e.mu.Unlock()
		return append([]simulate.Check(nil), e.checks[min(before, len(e.checks)):]...)
	}
}

// authorize plays an external authorizer, over gRPC and HTTP.
func (e *echoes) authorize(cluster string, w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	a := e.authorizers[cluster]
	e.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil || a.Refuse {
		panic(http.ErrAbortHandler)
	}
	check := simulate.Check{Cluster: cluster, Request: requestOf(r), Body: string(body)}
	grpc := strings.HasPrefix(r.Header.Get("content-type"), "application/grpc")
	if grpc {
		var in auth.CheckRequest
		if len(body) < 5 || proto.Unmarshal(body[5:], &in) != nil {
			panic(http.ErrAbortHandler)
		}
		check = checkOf(cluster, &in)
	}
	e.mu.Lock()
	e.checks = append(e.checks, check)
	e.mu.Unlock()
	if a.Delay > 0 {
		select {
		case <-time.After(a.Delay):
		case <-r.Context().Done():
			return
		}
	}
	if grpc {
		answerGRPC(w, a)
		return
	}
	for name, values := range a.Headers {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	if a.Status != 0 {
		w.WriteHeader(a.Status)
	}
	_, _ = io.WriteString(w, a.Body)
}

// checkOf is a question over gRPC; one about a connection has no request.
func checkOf(cluster string, in *auth.CheckRequest) simulate.Check {
	h := in.GetAttributes().GetRequest().GetHttp()
	out := simulate.Check{Cluster: cluster, Body: h.GetBody()}
	if raw := h.GetRawBody(); len(raw) > 0 {
		out.Body, out.Bytes = string(raw), true
	}
	if h.GetMethod() != "" {
		out.Request = simulate.Request{Method: h.GetMethod(), Host: h.GetHost(), Path: h.GetPath(), Headers: simulate.Headers{}}
		for name, value := range h.GetHeaders() {
			out.Request.Headers = out.Request.Headers.With(name, value)
		}
	}
	return out
}

// answerGRPC writes one message and the trailers of a call that succeeded.
func answerGRPC(w http.ResponseWriter, a simulate.Authorizer) {
	out := &auth.CheckResponse{Status: &status.Status{}}
	if a.Status == 0 || a.Status == http.StatusOK {
		out.HttpResponse = &auth.CheckResponse_OkResponse{OkResponse: &auth.OkHttpResponse{Headers: options(a.Headers), ResponseHeadersToAdd: options(a.Response)}}
	} else {
		out.Status.Code = int32(codes.PermissionDenied)
		out.HttpResponse = &auth.CheckResponse_DeniedResponse{DeniedResponse: &auth.DeniedHttpResponse{
			Status: &xtype.HttpStatus{Code: xtype.StatusCode(a.Status)}, Headers: options(a.Headers), Body: a.Body,
		}}
	}
	message, err := proto.Marshal(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("content-type", "application/grpc")
	w.Header().Set("trailer", "Grpc-Status")
	frame := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	_, _ = w.Write(frame)
	w.Header().Set("Grpc-Status", "0")
}

func options(in simulate.Headers) (out []*core.HeaderValueOption) {
	for name, values := range in {
		for _, v := range values {
			out = append(out, &core.HeaderValueOption{Header: &core.HeaderValue{Key: name, Value: v}})
		}
	}
	return out
}
