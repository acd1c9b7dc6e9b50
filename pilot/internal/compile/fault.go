package compile

import (
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// fault reads one http[].fault. A half (delay or abort) that cannot be
// honoured is left out; the other half and the route still apply.
//
// Source: istio.io/api networking/v1alpha3, message HTTPFaultInjection: an
// absent percentage is no request. Units: parts per million, Envoy's finest.
func (c *routing) fault(in *networking.HTTPFaultInjection, at diag.Path) *model.Fault {
	var f model.Fault
	if in.GetDelay() != nil {
		c.delay(in.GetDelay(), &f, at.Field("delay"))
	}
	if in.GetAbort() != nil {
		c.abort(in.GetAbort(), &f, at.Field("abort"))
	}
	if f == (model.Fault{}) {
		return nil
	}
	return &f
}

func (c *routing) delay(in *networking.HTTPFaultInjection_Delay, f *model.Fault, at diag.Path) {
	percent, path := in.GetPercentage(), at.Field("percentage")
	if old := in.GetPercent(); percent == nil && old != 0 { //nolint:staticcheck // still in the API
		path = at.Field("percent")
		c.d.Add(diag.OldField, path, "percentage replaces it")
		percent = &networking.Percent{Value: float64(old)}
	}
	if in.GetFixedDelay() == nil {
		if in.GetExponentialDelay() == nil {
			c.d.Add(diag.Invalid, at.Field("fixedDelay"), "it must be set")
		}
		return
	}
	hold, ok := positive(in.GetFixedDelay(), at.Field("fixedDelay"), c.d)
	if ppm, valid := partsPerMillion(percent, 0, path, c.d); ok && valid && ppm > 0 {
		f.Delay, f.DelayPPM = hold, ppm
	}
}

func (c *routing) abort(in *networking.HTTPFaultInjection_Abort, f *model.Fault, at diag.Path) {
	ppm, ok := partsPerMillion(in.GetPercentage(), 0, at.Field("percentage"), c.d)
	switch e := in.GetErrorType().(type) {
	case *networking.HTTPFaultInjection_Abort_HttpStatus:
		if checkStatus(int64(e.HttpStatus), at.Field("httpStatus"), c.d) && ok && ppm > 0 {
			f.AbortStatus, f.AbortPPM = uint32(e.HttpStatus), ppm
		}
	case *networking.HTTPFaultInjection_Abort_GrpcStatus:
		code := slices.Index(grpcCodes, e.GrpcStatus)
		if code < 0 {
			c.d.Add(diag.Invalid, at.Field("grpcStatus"), "%q is not a gRPC status such as UNAVAILABLE", e.GrpcStatus)
		} else if ok && ppm > 0 {
			f.AbortGRPC, f.AbortPPM = uint32(code), ppm
		}
	case nil:
		c.d.Add(diag.Invalid, at, "one of httpStatus and grpcStatus must be set")
	}
}

// grpcCodes are the gRPC statuses by number.
var grpcCodes = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}
