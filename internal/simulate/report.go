package simulate

import (
	"fmt"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationrules "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	mutation "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	weighted "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	wrrlocality "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
)

// ReportHeader is where Envoy looks for an endpoint's load report, and Report
// what an Upstream that reports writes there.
const (
	ReportHeader = "endpoint-load-metrics"
	Report       = "TEXT rps_fractional=100000000,eps=0,named_metrics.lat=1000"
)

// mutate changes the headers of request and answer as the route says, else the
// filter; trailers are not simulated.
// Source: envoy.extensions.filters.http.header_mutation.v3.
func (w walk) mutate(name string, config *mutation.HeaderMutation, next step) ([]Outcome, error) {
	override, err := w.perRoute(name)
	if err != nil {
		return nil, err
	}
	of := config.GetMutations()
	if override != nil {
		specific, ok := override.(*mutation.HeaderMutationPerRoute)
		if !ok {
			return nil, unknown("configuration %T of the header mutation filter", override)
		}
		of = specific.GetMutations()
	}
	if of == nil {
		return next(w)
	}
	if err := checkKnown(of); err != nil {
		return nil, err
	}
	if w.out.Request.Headers, err = w.mutated(w.out.Request.Headers, of.GetRequestMutations()); err != nil {
		return nil, err
	}
	outcomes, err := next(w)
	for i := range outcomes {
		o := &outcomes[i]
		if o.Closed != "" || err != nil {
			continue
		}
		o.Response, err = w.mutated(o.Response, of.GetResponseMutations())
	}
	return outcomes, err
}

func (w walk) mutated(h Headers, all []*mutationrules.HeaderMutation) (Headers, error) {
	for _, m := range all {
		if err := checkKnown(m); err != nil {
			return nil, err
		}
		var e edits
		switch a := m.GetAction().(type) {
		case *mutationrules.HeaderMutation_Remove:
			e.remove = []string{a.Remove}
		case *mutationrules.HeaderMutation_Append:
			e.add = append(e.add, a.Append)
		}
		var err error
		if h, err = e.apply(h, w.expandMeasured); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// expandMeasured is expand for values that tell of the answer: what Envoy
// measures or computes is "?". A value that is nothing but an expression is one
// that answers here have no cause for.
func (w walk) expandMeasured(format string) (string, error) {
	if strings.HasPrefix(format, "%CEL(") && strings.Index(format[1:], "%") == len(format)-2 {
		return "", nil
	}
	var out strings.Builder
	for i, part := range strings.Split(format, "%") {
		switch {
		case i%2 == 0:
			out.WriteString(part)
		case strings.HasPrefix(part, "CEL(") || strings.HasPrefix(part, "COMMON_DURATION("):
			out.WriteByte('?')
		default:
			value, err := w.operator(part)
			if err != nil {
				return "", fmt.Errorf("in %q: %w", format, err)
			}
			out.WriteString(value)
		}
	}
	return out.String(), nil
}

// byPolicy is how a cluster's typed policy spreads requests. Until endpoints
// report, all have one weight.
func byPolicy(typed *cluster.LoadBalancingPolicy) (Spread, error) {
	if err := checkKnown(typed); err != nil {
		return "", err
	}
	if len(typed.GetPolicies()) == 0 {
		return "", unknown("a load_balancing_policy without a policy")
	}
	config, err := typed.GetPolicies()[0].GetTypedExtensionConfig().GetTypedConfig().UnmarshalNew()
	if err != nil {
		return "", fmt.Errorf("load_balancing_policy: %w", err)
	}
	if outer, ok := config.(*wrrlocality.WrrLocality); ok && outer.GetEndpointPickingPolicy() != nil {
		if err := checkKnown(outer); err != nil {
			return "", err
		}
		return byPolicy(outer.GetEndpointPickingPolicy())
	}
	if _, ok := config.(*weighted.ClientSideWeightedRoundRobin); !ok {
		return "", unknown("load balancing policy %T", config)
	}
	return SpreadChance, checkKnown(config)
}
