package compile

import (
	"math"
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
)

// rank orders objects that claim the same: the older first, then by key.
func rank(o *config.Object) string {
	return o.Created.UTC().Format("2006-01-02T15:04:05.000000000") + "/" + o.Key()
}

// origin is how Kiali finds the object behind a piece of Envoy configuration.
func origin(o *config.Object, group, kind string) model.Origin {
	return model.Origin("/apis/" + group + "/v1/namespaces/" + o.Namespace + "/" + kind + "/" + o.Name)
}

// maxDuration is the longest that Envoy takes: of whole seconds, and less than
// what 64 bits of nanoseconds hold (its DurationUtil).
const maxDuration = 9223372035 * time.Second

// duration reads a duration that is set; ok is false if it is absent or not
// one that protobuf and Envoy allow.
func duration(in *durationpb.Duration, at diag.Path, d *diag.List) (time.Duration, bool) {
	if in == nil {
		return 0, false
	}
	if err := in.CheckValid(); err != nil {
		d.Add(diag.Invalid, at, "not a duration: %v", err)
		return 0, false
	}
	if v := in.AsDuration(); v <= maxDuration {
		return v, true
	}
	d.Add(diag.Invalid, at, "must be at most %v, got %ds", maxDuration, in.GetSeconds())
	return 0, false
}

// notNegative reads a duration of 0 or at least 1 ms.
func notNegative(in *durationpb.Duration, at diag.Path, d *diag.List) (time.Duration, bool) {
	v, ok := duration(in, at, d)
	if ok && (v < 0 || v > 0 && v < time.Millisecond) {
		d.Add(diag.Invalid, at, "must be 0 or at least 1ms, got %v", v)
		return 0, false
	}
	return v, ok
}

// positive reads a duration of at least 1 ms.
func positive(in *durationpb.Duration, at diag.Path, d *diag.List) (time.Duration, bool) {
	v, ok := duration(in, at, d)
	if ok && v < time.Millisecond {
		d.Add(diag.Invalid, at, "must be at least 1ms, got %v", v)
		return 0, false
	}
	return v, ok
}

// count reads a limit that must not be negative; 0 is its default.
func count(in int32, at diag.Path, d *diag.List) uint32 {
	if in < 0 {
		d.Add(diag.Invalid, at, "must not be negative, got %d", in)
		return 0
	}
	return uint32(in)
}

// partsPerMillion converts percent to parts per million, rounded. A nil p is
// absent.
func partsPerMillion(p *networking.Percent, absent uint32, at diag.Path, d *diag.List) (uint32, bool) {
	if p == nil {
		return absent, true
	}
	v := p.GetValue()
	if !(v >= 0 && v <= 100) { // written so that NaN is refused too
		d.Add(diag.Invalid, at, "must be 0..100, got %v", v)
		return 0, false
	}
	ppm := uint32(math.Round(v * 10_000))
	if ppm == 0 && v > 0 {
		d.Add(diag.NoEffect, at, "%v is less than Envoy can count (0.0001 percent): it is none", v)
	}
	return ppm, true
}

// checkHost reports whether name can be a host.
func checkHost(name string, at diag.Path, d *diag.List) bool {
	if err := hostname.Check(name); err != nil {
		d.Add(diag.Invalid, at, "host %q is not valid: %v", name, err)
		return false
	}
	return true
}

// checkStatus: Envoy refuses a whole route table for one status outside
// [200, 600).
func checkStatus(status int64, at diag.Path, d *diag.List) bool {
	if status < 200 || status > 599 {
		d.Add(diag.Invalid, at, "must be 200..599, got %d", status)
		return false
	}
	return true
}

// checkText reports whether s can stand in a header or path: no control
// characters.
func checkText(s string, at diag.Path, d *diag.List) bool {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		d.Add(diag.Invalid, at, "control characters such as line ends are not allowed")
		return false
	}
	return true
}

var token = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// checkHeaderName: a token as of RFC 9110 5.1.
func checkHeaderName(name string, at diag.Path, d *diag.List) bool {
	if !token.MatchString(name) || len(name) > maxHeader {
		d.Add(diag.Invalid, at, "%.100q is not a header name", name)
		return false
	}
	return true
}

func checkPort(n uint32, at diag.Path, d *diag.List) bool {
	if n == 0 || n > 65535 {
		d.Add(diag.Invalid, at, "%d is not a port (1..65535)", n)
		return false
	}
	return true
}
