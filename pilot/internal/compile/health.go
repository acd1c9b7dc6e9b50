package compile

import (
	"strconv"
	"strings"
	"time"

	core "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// Our own settings on a Service.
const (
	healthAnnotation = "weft.mesh/health-check"
	ageAnnotation    = "weft.mesh/max-connection-age"
)

// The least of each setting: every client's proxy checks every endpoint, so
// that more often would be a load of its own.
const (
	leastInterval = time.Second
	leastTimeout  = 100 * time.Millisecond
	leastAge      = time.Second
	mostCount     = 100
)

// healthCheck reads weft.mesh/health-check: "http:/PATH", "grpc", "grpc:SERVICE"
// or "tcp", then any of interval=, timeout=, healthy= and unhealthy=. Nothing
// of it is in force if a part is wrong.
func healthCheck(o *config.Object, d *diag.List) *model.HealthCheck {
	text, set := o.Annotations[healthAnnotation]
	if !set {
		return nil
	}
	at := diag.Path("metadata.annotations").Key(healthAnnotation)
	if svc, ok := o.Spec.(*core.Service); ok && svc.Spec.Type == core.ServiceTypeExternalName {
		d.Add(diag.BadAnnotation, at, "an ExternalName has no endpoints of its own; nothing is checked")
		return nil
	}
	words := strings.Fields(text)
	out := &model.HealthCheck{Interval: 10 * time.Second, Timeout: time.Second, Healthy: 1, Unhealthy: 3}
	if len(words) == 0 || !checkKind(words[0], out) {
		d.Add(diag.BadAnnotation, at, `%q begins with none of http:/PATH, grpc, grpc:SERVICE and tcp; nothing is checked`, text)
		return nil
	}
	for _, word := range words[1:] {
		if why := checkOption(word, out); why != "" {
			d.Add(diag.BadAnnotation, at, "%q %s; nothing is checked", word, why)
			return nil
		}
	}
	if out.Timeout > out.Interval {
		d.Add(diag.BadAnnotation, at, "timeout=%v is longer than interval=%v; nothing is checked", out.Timeout, out.Interval)
		return nil
	}
	return out
}

func checkKind(word string, out *model.HealthCheck) bool {
	kind, rest, has := strings.Cut(word, ":")
	printable := !strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r > '~' })
	switch {
	case kind == "http" && strings.HasPrefix(rest, "/") && printable:
		out.Kind, out.Path = model.CheckHTTP, rest
	case kind == "grpc" && printable && (!has || rest != ""):
		out.Kind, out.Service = model.CheckGRPC, rest
	case word == "tcp":
		out.Kind = model.CheckTCP
	default:
		return false
	}
	return true
}

// checkOption reads one NAME=VALUE; it says what is wrong with it.
func checkOption(word string, out *model.HealthCheck) string {
	name, value, _ := strings.Cut(word, "=")
	switch name {
	case "interval":
		return between(value, leastInterval, &out.Interval)
	case "timeout":
		return between(value, leastTimeout, &out.Timeout)
	case "healthy", "unhealthy":
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil || n < 1 || n > mostCount {
			return "must be 1..100"
		}
		if name == "healthy" {
			out.Healthy = uint32(n)
		} else {
			out.Unhealthy = uint32(n)
		}
		return ""
	}
	return "is none of interval=, timeout=, healthy= and unhealthy="
}

// mostSpan bounds durations in annotations.
const mostSpan = 24 * time.Hour

func between(text string, least time.Duration, out *time.Duration) string {
	v, err := time.ParseDuration(text)
	if err != nil || v < least || v > mostSpan {
		return "must be a duration of " + least.String() + " to 24h"
	}
	*out = v
	return ""
}

// connectionAge reads weft.mesh/max-connection-age; 0: no limit.
func connectionAge(o *config.Object, d *diag.List) (age time.Duration) {
	text, set := o.Annotations[ageAnnotation]
	if !set {
		return 0
	}
	if why := between(text, leastAge, &age); why != "" {
		d.Add(diag.BadAnnotation, diag.Path("metadata.annotations").Key(ageAnnotation), "%q %s; there is no limit", text, why)
	}
	return age
}

// checkGRPCPorts reports ports that gRPC's check cannot be made on.
func checkGRPCPorts(s *model.Service, d *diag.List) {
	if s.HealthCheck == nil || s.HealthCheck.Kind != model.CheckGRPC {
		return
	}
	for _, p := range s.Ports {
		if !p.Protocol.IsHTTP2() {
			d.Add(diag.BadAnnotation, diag.Path("metadata.annotations").Key(healthAnnotation), "port %d is not checked: gRPC's check needs a port of protocol grpc or http2", p.Number)
		}
	}
}
