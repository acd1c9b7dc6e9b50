package tap

import (
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	logv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"

	"github.com/weftmesh/weft/internal/tap"
)

// Bounds of texts that others choose, in bytes.
const (
	maxPath = 2048
	maxText = 256
)

// Source: envoy.data.accesslog.v3.HTTPAccessLogEntry.
func (s *Server) request(direction string, e *logv3.HTTPAccessLogEntry) *tap.Entry {
	out := s.common(direction, e.GetCommonProperties())
	ask, answer := e.GetRequest(), e.GetResponse()
	out.Event, out.Protocol = tap.Request, protocols[e.GetProtocolVersion()]
	if m := ask.GetRequestMethod(); m != corev3.RequestMethod_METHOD_UNSPECIFIED {
		out.Method = m.String()
	}
	out.Path = bounded(ask.GetPath(), maxPath)
	if p := ask.GetOriginalPath(); p != "" {
		out.Path = bounded(p, maxPath)
	}
	out.Authority, out.RequestID = bounded(ask.GetAuthority(), maxText), bounded(ask.GetRequestId(), maxText)
	out.Status, out.Details = answer.GetResponseCode().GetValue(), bounded(answer.GetResponseCodeDetails(), maxText)
	out.Denied = denier(answer.GetResponseCodeDetails())
	out.Received, out.Sent = ask.GetRequestBodyBytes(), answer.GetResponseBodyBytes()
	return out
}

// Source: envoy.data.accesslog.v3.TCPAccessLogEntry. Only the end of a connection
// and its beginning are told; what Envoy may say between them is nil here.
func (s *Server) connection(direction string, e *logv3.TCPAccessLogEntry) *tap.Entry {
	common := e.GetCommonProperties()
	out := s.common(direction, common)
	switch common.GetAccessLogType() {
	case logv3.AccessLogType_TcpUpstreamConnected:
		out.Event = tap.Opened
	case logv3.AccessLogType_TcpConnectionEnd:
		out.Event = tap.Closed
	default:
		return nil
	}
	out.Protocol = "TCP"
	out.Details = bounded(common.GetConnectionTerminationDetails(), maxText)
	out.Denied = denier(common.GetConnectionTerminationDetails())
	out.Received, out.Sent = e.GetConnectionProperties().GetReceivedBytes(), e.GetConnectionProperties().GetSentBytes()
	return out
}

func (s *Server) common(direction string, c *logv3.AccessLogCommon) *tap.Entry {
	tags := c.GetCustomTags()
	other := tap.Peer{Principal: known(tags["principal"])}
	namespace, workload, _ := strings.Cut(tags["peer"], "/")
	other.Namespace, other.Workload = known(namespace), known(workload)
	out := &tap.Entry{
		Time: c.GetStartTime().AsTime(), Direction: direction, Route: bounded(c.GetRouteName(), maxText), Cluster: bounded(c.GetUpstreamCluster(), maxText),
		Flags: known(tags["flags"]), GRPC: known(tags["grpc"]), TraceID: known(tags["trace"]),
		Attempts: c.GetUpstreamRequestAttemptCount(), Millis: float64(c.GetDuration().AsDuration()) / float64(time.Millisecond),
	}
	caller := c.GetDownstreamDirectRemoteAddress()
	if caller == nil {
		caller = c.GetDownstreamRemoteAddress()
	}
	switch direction {
	case tap.Inbound:
		out.From, out.To = other, s.o.Self
		out.To.Address = address(c.GetDownstreamLocalAddress())
	default:
		out.From, out.To = s.o.Self, other
		out.To.Address = address(c.GetUpstreamRemoteAddress())
	}
	out.From.Address = address(caller)
	return out
}

var protocols = map[logv3.HTTPAccessLogEntry_HTTPVersion]string{
	logv3.HTTPAccessLogEntry_HTTP10: "HTTP/1.0", logv3.HTTPAccessLogEntry_HTTP11: "HTTP/1.1",
	logv3.HTTPAccessLogEntry_HTTP2: "HTTP/2", logv3.HTTPAccessLogEntry_HTTP3: "HTTP/3",
}

func address(a *corev3.Address) string {
	at := a.GetSocketAddress()
	if at == nil {
		return ""
	}
	return net.JoinHostPort(at.GetAddress(), strconv.FormatUint(uint64(at.GetPortValue()), 10))
}

// known is a value of Envoy's formatter, which writes "-" for what is not there.
func known(value string) string {
	if value == "-" {
		return ""
	}
	return bounded(value, maxText)
}

// bounded cuts a text, between characters where it has some.
func bounded(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}

// denial is what the RBAC filters write of what they deny: the rule of the policy
// that matched, or none. The last ns[ counts: before it may stand any text.
var denial = regexp.MustCompile(`^rbac_access_denied_matched_policy\[(?:none\]|.*ns\[([^\]]+)\]-policy\[([^\]]+)\])`)

// denier is the policy that denied: NAMESPACE/NAME, "none" where policies allow
// and none of them took the request, "" where none denied.
func denier(details string) string {
	found := denial.FindStringSubmatch(details)
	switch {
	case found == nil:
		return ""
	case found[1] == "":
		return "none"
	}
	return bounded(found[1]+"/"+found[2], maxText)
}
