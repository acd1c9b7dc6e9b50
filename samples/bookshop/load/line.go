package load

import (
	"encoding/json"
	"io"
	"strconv"
	"time"

	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/samples/bookshop/ratingspb"
	"github.com/weftmesh/weft/samples/bookshop/shop"
)

// Line is one request or gRPC call that has ended, as a line of JSON: for those
// who watch a load while it runs.
type Line struct {
	Start time.Time `json:"start"`
	// Took is milliseconds until the answer was read.
	Took float64 `json:"tookMs"`
	// Status is the HTTP status or the name of the gRPC code; "none" for an HTTP
	// request without an answer.
	Status string `json:"status"`
	// Error says why it failed; empty where it did not.
	Error string `json:"error,omitempty"`
	// Answer is who answered; the zero value where nobody of the shop did.
	Answer shop.Answer `json:"answer"`
}

// Failed tells whether it was not answered well.
func (l Line) Failed() bool { return l.Error != "" }

// Line is the outcome as a Line.
func (o Outcome) Line() Line {
	line := Line{Start: o.Start, Took: milliseconds(o.Took), Status: "none", Answer: o.Answer}
	if o.Status != 0 {
		line.Status = strconv.Itoa(o.Status)
	}
	switch {
	case o.Err != nil:
		line.Error = o.Err.Error()
	case o.Failed() && o.Answer.Error == "":
		line.Error = "answered " + line.Status
	case o.Failed():
		line.Error = o.Answer.Error
	}
	return line
}

// callLine is a gRPC call as a Line.
func callLine(start time.Time, reply *ratingspb.GetReply, err error) Line {
	line := Line{Start: start, Took: milliseconds(time.Since(start)), Status: status.Code(err).String()}
	if err != nil {
		line.Error = err.Error()
		return line
	}
	line.Answer = shop.Answer{
		Service: "ratings", Version: reply.GetVersion(), Pod: reply.GetPod(), Peer: reply.GetPeer(), Stars: reply.GetStars(),
	}
	return line
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Lines writes each line to w. A reader that has gone away is reported by
// calling gone, once for each line that could not be written.
func Lines(w io.Writer, gone func()) func(Line) {
	encoder := json.NewEncoder(w)
	return func(l Line) {
		if encoder.Encode(l) != nil {
			gone()
		}
	}
}
