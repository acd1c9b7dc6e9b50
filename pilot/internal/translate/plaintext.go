package translate

import (
	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	logdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	stats "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stats/v3"
	xtype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Who proved no identity is known by its address alone. Istio's metrics have no
// label for that, so these are our own: `weft mtls status` reads them, to say
// who still calls without the mesh's mTLS.

// maxPlainCallers bounds the callers of one filter chain that are told apart:
// addresses are a stranger's to choose. Those over it are in Istio's metrics
// only.
const maxPlainCallers = 64

// What callers without the mesh's mTLS speak.
const (
	wirePlain = "plaintext"
	wireTLS   = "tls" // the app's own, which is passed on
)

// plainCallers counts calls by the caller's address, and keeps when the last
// was. A request counts when it ends, a connection when the app is reached or
// cannot be. The address is the connection's: the one that X-Forwarded-For gives
// is the caller's own word.
// Source: envoy.type.v3.Scope, max_counters and max_gauges; "%EMIT_TIME%" of
// Envoy's documentation.
func (b *builder) plainCallers(s side, when *accesslog.AccessLogFilter, types ...logdata.AccessLogType) *accesslog.AccessLog {
	tags := []*stats.Config_Tag{tag("source_address", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"), tag("destination_port", "%DOWNSTREAM_LOCAL_PORT%"), tag("wire", s.wire)}
	config := &stats.Config{
		StatsScope: &xtype.Scope{Prefix: "weft", MaxCounters: wrapperspb.UInt32(maxPlainCallers), MaxGauges: wrapperspb.UInt32(maxPlainCallers)},
		Counters:   []*stats.Config_Counter{{Stat: &stats.Config_Stat{Name: "plaintext_calls_total", Tags: tags}, ValueFixed: wrapperspb.UInt64(1)}},
	}
	for _, t := range types {
		config.Gauges = append(config.Gauges, &stats.Config_Gauge{
			Stat: &stats.Config_Stat{Name: "plaintext_last_call_timestamp_seconds", Tags: tags}, ValueFormat: "%EMIT_TIME(%s)%", Set: &stats.Config_Gauge_Set{LogType: t},
		})
	}
	return b.statsLog(when, config)
}
