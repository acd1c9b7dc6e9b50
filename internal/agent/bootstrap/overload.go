package bootstrap

import (
	"time"

	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

const heapMonitor = "envoy.resource_monitors.fixed_heap"

// heapActions are what Envoy does from which share of its heap on: first what
// costs nobody anything, last it answers 503 to new requests.
// Source: Envoy, "Configuring Envoy as an edge proxy".
var heapActions = []struct {
	name string
	from float64
}{
	{"envoy.overload_actions.shrink_heap", 0.9},
	{"envoy.overload_actions.disable_http_keepalive", 0.95},
	{"envoy.overload_actions.stop_accepting_requests", 0.98},
}

// overload bounds what all callers together may take of an Envoy: connections,
// and memory where the container has a limit of it.
func overload(c Config) *overloadv3.OverloadManager {
	limit := c.MaxConnections
	if limit == 0 {
		limit = defaultMaxConnections
	}
	out := &overloadv3.OverloadManager{
		RefreshInterval: durationpb.New(250 * time.Millisecond),
		ResourceMonitors: []*overloadv3.ResourceMonitor{{
			Name: "envoy.resource_monitors.global_downstream_max_connections",
			ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: pack(
				&connectionsv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: limit})},
		}},
	}
	if c.MaxHeap == 0 {
		return out
	}
	out.ResourceMonitors = append(out.GetResourceMonitors(), &overloadv3.ResourceMonitor{
		Name:       heapMonitor,
		ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: pack(&heapv3.FixedHeapConfig{MaxHeapSizeBytes: uint64(c.MaxHeap)})},
	})
	for _, a := range heapActions {
		out.Actions = append(out.GetActions(), &overloadv3.OverloadAction{Name: a.name, Triggers: []*overloadv3.Trigger{{
			Name: heapMonitor, TriggerOneof: &overloadv3.Trigger_Threshold{Threshold: &overloadv3.ThresholdTrigger{Value: a.from}},
		}}})
	}
	return out
}
