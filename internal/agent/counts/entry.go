package counts

import (
	"context"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	logv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	grpcstatsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	logservice "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
)

// What the pilot's logs are named: this, and the metrics with a comma between
// them. connection is the tag that is no label; values of the others begin with
// present.
const (
	logPrefix  = "istio:"
	connection = "#"
	present    = "="
	metricName = "istio_"
)

// messages is the filter state that holds how many there were.
const messages = "envoy.filters.http.grpc_stats"

// server is a Ledger as Envoy's access-log service.
type server struct {
	logservice.UnimplementedAccessLogServiceServer
	l *Ledger
}

// Register puts the service onto g.
func (l *Ledger) Register(g *grpc.Server) {
	logservice.RegisterAccessLogServiceServer(g, server{l: l})
}

// StreamAccessLogs takes one Envoy's entries.
func (s server) StreamAccessLogs(stream logservice.AccessLogService_StreamAccessLogsServer) error {
	envoy, err := s.l.caller(stream.Context())
	if err != nil {
		return err
	}
	var names []string
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if name := m.GetIdentifier().GetLogName(); name != "" {
			names = metrics(name)
		}
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			s.l.take(envoy, read(names, e.GetCommonProperties(), ofCall(e)))
		}
		for _, e := range m.GetTcpLogs().GetLogEntry() {
			s.l.take(envoy, read(names, e.GetCommonProperties(), ofConnection(e)))
		}
	}
}

// asleep is how soon an Envoy is looked for again that the agent does not know
// yet: an adopted one may call before it is found.
const asleep = 10 * time.Millisecond

func (l *Ledger) caller(ctx context.Context) (string, error) {
	tick := time.NewTicker(asleep)
	defer tick.Stop()
	for {
		if id := l.o.Envoy(); id != "" {
			return id, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// metrics are those that a log is for and that this agent knows.
func metrics(log string) []string {
	names, _ := strings.CutPrefix(log, logPrefix)
	return slices.DeleteFunc(strings.Split(names, ","), func(name string) bool { return !slices.Contains(Metrics(), metricName+name) })
}

// Metrics are the names of those that can be counted, sorted.
func Metrics() []string {
	return []string{"istio_request_messages_total", "istio_response_messages_total", "istio_tcp_received_bytes_total", "istio_tcp_sent_bytes_total"}
}

// Source: envoy.data.accesslog.v3.HTTPAccessLogEntry.
func ofCall(e *logv3.HTTPAccessLogEntry) map[string]uint64 {
	seen := &grpcstatsv3.FilterObject{}
	if state := e.GetCommonProperties().GetFilterStateObjects()[messages]; state == nil || state.UnmarshalTo(seen) != nil {
		return nil
	}
	return map[string]uint64{"request_messages_total": seen.GetRequestMessageCount(), "response_messages_total": seen.GetResponseMessageCount()}
}

// Source: envoy.data.accesslog.v3.TCPAccessLogEntry.
func ofConnection(e *logv3.TCPAccessLogEntry) map[string]uint64 {
	p := e.GetConnectionProperties()
	return map[string]uint64{"tcp_received_bytes_total": p.GetReceivedBytes(), "tcp_sent_bytes_total": p.GetSentBytes()}
}

// read is what an entry says of those metrics. A stream's own ID is not enough to
// know it by: for HTTP it is a header that the caller may write.
func read(names []string, c *logv3.AccessLogCommon, values map[string]uint64) report {
	out := report{values: map[string]uint64{}, labels: labels(c.GetCustomTags())}
	for _, name := range names {
		if value, ok := values[name]; ok {
			out.values[metricName+name] = value
		}
	}
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(c.GetStreamId()))
	out.stream = strings.Join([]string{
		strings.Join(names, ","), c.GetCustomTags()[connection],
		strconv.FormatInt(c.GetStartTime().AsTime().UnixNano(), 36), strconv.FormatUint(hash.Sum64(), 36),
	}, "/")
	out.ended = c.GetAccessLogType() == logv3.AccessLogType_DownstreamEnd || c.GetAccessLogType() == logv3.AccessLogType_TcpConnectionEnd
	return out
}

// escape is that of Prometheus' text format.
var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// labels are those that Envoy's page has, empty ones too.
func labels(tags map[string]string) (out []Pair) {
	for name, value := range tags {
		if value, ok := strings.CutPrefix(value, present); ok {
			out = append(out, Pair{name, escape.Replace(value)})
		}
	}
	return out
}
