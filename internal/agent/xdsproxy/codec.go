package xdsproxy

import (
	"fmt"

	"google.golang.org/grpc/mem"
)

// frame is one gRPC message that is passed on as the bytes it came in.
type frame struct{ data mem.BufferSlice }

// rawCodec moves frames without decoding them: the agent need not know the
// resources that pass through it, and costs no memory for them.
type rawCodec struct{}

// Name is proto, so that the other end sees an ordinary protobuf stream.
func (rawCodec) Name() string { return "proto" }

// Marshal gives a frame's buffers to gRPC, which frees them once sent: a frame
// can be sent once.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*frame)
	if !ok {
		return nil, fmt.Errorf("xdsproxy: cannot send a %T raw", v)
	}
	data := f.data
	f.data = nil
	return data, nil
}

// Unmarshal keeps the buffers, which gRPC would free on return.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return fmt.Errorf("xdsproxy: cannot receive a %T raw", v)
	}
	data.Ref()
	f.data = data
	return nil
}
