package translate

import (
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationrules "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	mutation "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	weighted "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	common "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// Latency-aware balancing: the sidecar of an endpoint writes into its answers
// how long the app took and whether it failed, in the form of an ORCA load
// report, and the client's Envoy gives the endpoint the weight
//
//	1 / (latency + penalty if it failed)
//
// Sources: envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3;
// gRFC A51 and A64 (the report, and the weights).
const (
	// reportHeader is where Envoy looks for a report, in the headers or the
	// trailers of an answer. Two reports in one answer, as an app's own in
	// another form would be one, make it take none.
	reportHeader     = "endpoint-load-metrics"
	reportHeaderBin  = "endpoint-load-metrics-bin"
	reportHeaderJSON = "endpoint-load-metrics-json"
	latencyMetric    = "named_metrics.lat"
	floorMetric      = "named_metrics.floor"

	// reportScale stands for the requests a second of the report: the larger, the
	// finer are weights, which Envoy keeps as whole numbers: 1e8 / microseconds.
	reportScale = "100000000"
	// latencyFloor in microseconds: faster is all the same.
	latencyFloor = "500"
	// errorPenalty in microseconds: so much slower counts an endpoint that failed.
	errorPenalty = 1_000_000

	// measured is from the request's first byte to the answer's. Where the app
	// answered nothing there is none, and the zero before it is all that is left.
	measured = latencyMetric + "=0%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:us)%," + floorMetric + "=" + latencyFloor
	// failed is the error rate of the report. Of an answer that says nothing about
	// the server (a client's mistake) it is empty, and Envoy drops the report: a
	// host that answers 404 to everything is not fast.
	failed = `%CEL(response.code < 400 ? "0" : response.code >= 500 || response.code == 429 ? "` + reportScale + `" : "")%`
	// badStatus are the codes of gRPC that say that the server failed: UNKNOWN,
	// DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE,
	// DATA_LOSS.
	badStatus    = `["2", "4", "8", "12", "13", "14", "15"]`
	failedStatus = `%CEL(response.trailers["grpc-status"] == "0" ? "0" : response.trailers["grpc-status"] in ` + badStatus + ` ? "` + reportScale + `" : "")%`
	// onlyHeaders is the whole report of an answer of gRPC that has no trailers,
	// as errors that come before any message, those of the sidecar itself too.
	onlyHeaders = `%CEL(response.headers["grpc-status"] in ` + badStatus + ` ? "TEXT rps_fractional=` + reportScale + `,eps=` + reportScale + `" : "")%`
)

// byLatency sets the policy that weighs endpoints by their reports. An endpoint
// that has reported nothing yet gets the median of the others' weights.
func (b *builder) byLatency(out *cluster.Cluster, w *model.Warmup) {
	policy := &weighted.ClientSideWeightedRoundRobin{
		BlackoutPeriod:                     durationpb.New(100 * time.Millisecond),
		WeightExpirationPeriod:             durationpb.New(10 * time.Second),
		WeightUpdatePeriod:                 durationpb.New(100 * time.Millisecond),
		ErrorUtilizationPenalty:            wrapperspb.Float(errorPenalty),
		MetricNamesForComputingUtilization: []string{latencyMetric, floorMetric},
	}
	if w != nil {
		s := slowStart(w)
		policy.SlowStartConfig = &common.SlowStartConfig{SlowStartWindow: s.GetSlowStartWindow(), Aggression: s.GetAggression(), MinWeightPercent: s.GetMinWeightPercent()}
	}
	out.LoadBalancingPolicy = typedPolicy("envoy.load_balancing_policies.client_side_weighted_round_robin", b.pack(policy))
}

// reportHTTP writes the report into the headers of an answer.
func reportHTTP() *mutation.HeaderMutationPerRoute {
	return mutations(append(noOtherReport(), writeReport("TEXT rps_fractional="+reportScale+",eps="+failed+","+measured)), nil)
}

// reportGRPC writes it into the trailers, where the status is. Envoy takes the
// first report that it can read, so that none may stand in the headers before.
func reportGRPC() *mutation.HeaderMutationPerRoute {
	return mutations(
		append(noOtherReport(), remove(reportHeader), writeReport(onlyHeaders)),
		append(noOtherReport(), writeReport("TEXT rps_fractional="+reportScale+",eps="+failedStatus+","+measured)))
}

// dropReport keeps reports from the caller, once Envoy has read them.
func dropReport() *mutation.HeaderMutationPerRoute {
	all := append(noOtherReport(), remove(reportHeader))
	return mutations(all, all)
}

// reports reports whether a route leads to endpoints that report.
func reports(r *model.Route) bool {
	f, ok := r.Action.(*model.Forward)
	if !ok {
		return false
	}
	for _, d := range f.Destinations {
		if d.Reports {
			return true
		}
	}
	return false
}

func mutations(headers, trailers []*mutationrules.HeaderMutation) *mutation.HeaderMutationPerRoute {
	return &mutation.HeaderMutationPerRoute{Mutations: &mutation.Mutations{ResponseMutations: headers, ResponseTrailersMutations: trailers}}
}

func noOtherReport() []*mutationrules.HeaderMutation {
	return []*mutationrules.HeaderMutation{remove(reportHeaderBin), remove(reportHeaderJSON)}
}

func remove(header string) *mutationrules.HeaderMutation {
	return &mutationrules.HeaderMutation{Action: &mutationrules.HeaderMutation_Remove{Remove: header}}
}

func writeReport(value string) *mutationrules.HeaderMutation {
	return &mutationrules.HeaderMutation{Action: &mutationrules.HeaderMutation_Append{
		Append: headerOption(model.Header{Name: reportHeader, Value: value}, core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD),
	}}
}
