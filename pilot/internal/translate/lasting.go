package translate

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	logdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	grpclog "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	stats "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stats/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	tracetag "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/internal/model"
)

// gRPC messages and bytes of TCP grow while a call or a connection lasts, and
// Envoy's counters know a whole one only, at its end. So what is short is
// counted by Envoy as all else is; of what lasts the agent gets an entry each
// interval and one at the end, counts the differences, and adds them to Envoy's
// counters on its page. Each call and connection is counted by one of the two,
// which its length decides (docs/decisions/030).

// The agent's names: its cluster in the bootstrap, and the lengths in ms up to
// which Envoy counts, and from which the agent does. Where the bootstrap of an
// older agent lacks them all is short.
const (
	countCluster = "count-grpc"
	shortKey     = "weft.count.short_ms"
	longKey      = "weft.count.long_ms"
)

// Names of the log that the agent counts by: this and the metrics', with a comma
// between them. The values of its tags begin with "=", so that an empty one is
// there too; connectionTag is no label's name.
const (
	countLog      = "istio:"
	connectionTag = "#"
)

// countWait is how long an entry waits for others at most.
const countWait = time.Second

var (
	grpcMessages = []string{"request_messages_total", "response_messages_total"}
	tcpBytes     = []string{"tcp_sent_bytes_total", "tcp_received_bytes_total"}
)

// messageCount is "REQUESTS,RESPONSES", which no stats logger can read a number
// from. But most calls have one message each way, or end with an error before
// the answer, and those two can be told.
// Source: envoy.extensions.filters.http.grpc_stats.v3.FilterConfig.emit_filter_state.
const (
	messageCount = "filter_state['" + messagesFilter + "']"
	answered     = messageCount + " == b'1,1'"
	unanswered   = messageCount + " == b'1,0'"
	silent       = messageCount + " == b'0,0'"
)

// counts says whether any of these metrics is counted.
func (b *builder) counts(names []string) bool {
	told := b.reporting()
	return !told.NoMetrics && slices.ContainsFunc(names, func(name string) bool { return !told.Metrics[name].Disabled })
}

// interval is how often the loggers of what is still going on are called; nil:
// never.
func (b *builder) interval(names []string) *durationpb.Duration {
	every := b.reporting().Interval
	if every < 0 || !b.counts(names) {
		return nil
	}
	if every == 0 {
		every = model.DefaultInterval
	}
	return durationpb.New(every)
}

// messages counts those of gRPC. Their labels are Istio's: who calls whom, and
// nothing that is known at the end only.
func (b *builder) messages(s side) []*accesslog.AccessLog {
	if !b.counts(grpcMessages) {
		return nil
	}
	ended, tags := at(logdata.AccessLogType_DownstreamEnd), s.ends()
	out := b.metrics(both(ofGRPC(), ended, short(), b.expressionFilter(answered+" || "+unanswered)), tags,
		metric{name: grpcMessages[0]}, metric{name: grpcMessages[1], format: "%CEL(" + answered + " ? '1' : '0')%"})
	other := b.expressionFilter("!(" + answered + " || " + unanswered + " || " + silent + ")")
	return append(out, b.toAgent(lasting{
		metrics: grpcMessages, tags: tags,
		when: both(ofGRPC(), either(both(at(logdata.AccessLogType_DownstreamPeriodic), long()), both(ended, either(long(), other)))),
		log: func(c *grpclog.CommonGrpcAccessLogConfig) (string, validated) {
			c.FilterStateObjectsToLog = []string{messagesFilter}
			return "envoy.access_loggers.http_grpc", &grpclog.HttpGrpcAccessLogConfig{CommonConfig: c}
		},
	})...)
}

// bytes counts those of TCP.
func (b *builder) bytes(tags []*stats.Config_Tag) []*accesslog.AccessLog {
	out := b.metrics(both(at(logdata.AccessLogType_TcpConnectionEnd), short()), tags,
		metric{name: tcpBytes[0], format: "%BYTES_SENT%"}, metric{name: tcpBytes[1], format: "%BYTES_RECEIVED%"})
	return append(out, b.toAgent(lasting{
		metrics: tcpBytes, tags: tags,
		when: both(at(logdata.AccessLogType_TcpPeriodic, logdata.AccessLogType_TcpConnectionEnd), long()),
		log: func(c *grpclog.CommonGrpcAccessLogConfig) (string, validated) {
			return "envoy.access_loggers.tcp_grpc", &grpclog.TcpGrpcAccessLogConfig{CommonConfig: c}
		},
	})...)
}

// lasting is what the agent counts of one filter chain.
type lasting struct {
	metrics []string
	tags    []*stats.Config_Tag
	when    *accesslog.AccessLogFilter
	// log completes and wraps what loggers have in common.
	log func(*grpclog.CommonGrpcAccessLogConfig) (string, validated)
}

// toAgent logs to the agent, once for all metrics that Telemetries give the same
// labels.
func (b *builder) toAgent(c lasting) (out []*accesslog.AccessLog) {
	told := b.reporting()
	left := slices.DeleteFunc(slices.Clone(c.metrics), func(name string) bool { return told.NoMetrics || told.Metrics[name].Disabled })
	for len(left) > 0 {
		changes := told.Metrics[left[0]].Tags
		var same, others []string
		for _, name := range left {
			if reflect.DeepEqual(told.Metrics[name].Tags, changes) {
				same = append(same, name)
			} else {
				others = append(others, name)
			}
		}
		name, config := c.log(countConfig(same, overridden(c.tags, changes)))
		out = append(out, &accesslog.AccessLog{Name: name, Filter: c.when, ConfigType: &accesslog.AccessLog_TypedConfig{TypedConfig: b.pack(config)}})
		left = others
	}
	return out
}

// countConfig names metrics and labels.
// Source: envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig.
func countConfig(names []string, tags []*stats.Config_Tag) *grpclog.CommonGrpcAccessLogConfig {
	out := &grpclog.CommonGrpcAccessLogConfig{
		LogName: countLog + strings.Join(names, ","), TransportApiVersion: core.ApiVersion_V3, BufferFlushInterval: durationpb.New(countWait),
		GrpcService: grpcService(countCluster, ""), CustomTags: []*tracetag.CustomTag{tapTag(connectionTag, "%CONNECTION_ID%")},
	}
	for _, t := range tags {
		out.CustomTags = append(out.CustomTags, tapTag(t.GetName(), "="+t.GetValueFormat()))
	}
	return out
}

// ofGRPC is passed by gRPC alone, and comes first: nothing else pays for more.
func ofGRPC() *accesslog.AccessLogFilter {
	return &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_HeaderFilter{HeaderFilter: &accesslog.HeaderFilter{Header: &route.HeaderMatcher{
		Name: "content-type", HeaderMatchSpecifier: &route.HeaderMatcher_StringMatch{StringMatch: &matcher.StringMatcher{
			MatchPattern: &matcher.StringMatcher_Prefix{Prefix: "application/grpc"},
		}},
	}}}}
}

// short and long are of what no call and no connection is both.
func short() *accesslog.AccessLogFilter { return lasted(accesslog.ComparisonFilter_LE, shortKey) }
func long() *accesslog.AccessLogFilter  { return lasted(accesslog.ComparisonFilter_GE, longKey) }

func lasted(op accesslog.ComparisonFilter_Op, key string) *accesslog.AccessLogFilter {
	return &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_DurationFilter{DurationFilter: &accesslog.DurationFilter{
		Comparison: &accesslog.ComparisonFilter{Op: op, Value: &core.RuntimeUInt32{DefaultValue: math.MaxUint32, RuntimeKey: key}},
	}}}
}
