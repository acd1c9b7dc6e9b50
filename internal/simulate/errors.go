package simulate

import (
	"strconv"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"
	upstreams "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

// errorCodes are the statuses that a cluster's outlier detection takes for
// errors; none: 5xx. Source: envoy.extensions.upstreams.http.v3, OutlierDetection.
func errorCodes(cl *cluster.Cluster) (codes []int, err error) {
	packed := cl.GetTypedExtensionProtocolOptions()[httpOptions]
	if packed == nil {
		return nil, nil
	}
	options := &upstreams.HttpProtocolOptions{}
	if err := packed.UnmarshalTo(options); err != nil {
		return nil, err
	}
	m := options.GetOutlierDetection().GetErrorMatcher()
	if m == nil {
		return nil, nil
	}
	rules := []*matcher.MatchPredicate{m}
	if or := m.GetOrMatch(); or != nil {
		rules = or.GetRules()
	}
	for _, rule := range rules {
		for _, h := range rule.GetHttpResponseHeadersMatch().GetHeaders() {
			code, err := strconv.Atoi(h.GetStringMatch().GetExact())
			if err != nil || h.GetName() != ":status" {
				return nil, unknown("error_matcher %v", m)
			}
			codes = append(codes, code)
		}
	}
	if len(codes) == 0 {
		return nil, unknown("error_matcher %v", m)
	}
	return codes, nil
}
