// Package counted has what several programs say alike about their metrics.
//
// In: a component's name and version, a metric's name. Out: the metric by which
// dashboards tell versions, and the help texts of what Envoy counts, which has
// none of its own. It is in every pod's agent, and imports Prometheus' client alone.
package counted

import "github.com/prometheus/client_golang/prometheus"

// Build is istio_build{component,tag}, always 1: how many of which version run.
// Components are "pilot", "ca", "injector", "proxy" and, without Envoy, "agent";
// pilot and proxy are those that Istio's dashboards ask for.
func Build(component, version string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "istio_build", Help: "The component's version; always 1.", ConstLabels: prometheus.Labels{"component": component, "tag": version},
	}, func() float64 { return 1 })
}

// Help has the text of each metric of Istio's standard set and of ours that Envoy
// counts, by its name. Source: Istio's "Standard Metrics" page.
var Help = map[string]string{
	"istio_requests_total":                       "HTTP and gRPC requests, when they end.",
	"istio_request_duration_milliseconds":        "How long requests took, from their first byte to the answer's last.",
	"istio_request_bytes":                        "Sizes of requests, with their headers.",
	"istio_response_bytes":                       "Sizes of responses, with their headers.",
	"istio_request_messages_total":               "Messages of gRPC calls that clients sent, while these last.",
	"istio_response_messages_total":              "Messages of gRPC calls that servers sent, while these last.",
	"istio_tcp_connections_opened_total":         "TCP connections: when the other end is reached, or cannot be.",
	"istio_tcp_connections_closed_total":         "TCP connections that have ended.",
	"istio_tcp_sent_bytes_total":                 "Bytes of TCP connections that were sent to the client, while these last.",
	"istio_tcp_received_bytes_total":             "Bytes of TCP connections that were received from the client, while these last.",
	"weft_plaintext_calls_total":                 "Requests and connections of callers that proved no identity, by address; wire is what they speak.",
	"weft_plaintext_last_call_timestamp_seconds": "When the last such was, in seconds since the epoch.",
}
