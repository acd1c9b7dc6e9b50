package translate

import (
	"strings"

	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbachttp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftmesh/weft/internal/model"
)

// grpcRights decide on the calls of a server without a proxy: what denies, then
// what allows. Marks for the log and dry runs are left out, for gRPC passes them
// by. It takes no two filters of one name.
// Source: gRFC A41; gRFC A39, HTTP filter names.
func (b *builder) grpcRights() (out []*hcm.HttpFilter) {
	type step struct {
		decision
		name string
	}
	var all []step
	for _, q := range b.questions(model.AuthRule.ForGRPC) {
		for _, d := range q.steps(false) { // a gRPC library asks nobody
			all = append(all, step{d, "custom." + q.provider})
		}
	}
	for _, d := range b.decisions(model.AuthRule.ForGRPC) {
		all = append(all, step{d, strings.ToLower(d.rules.GetAction().String())})
	}
	for _, d := range all {
		if d.rules == nil || d.rules.GetAction() == rbac.RBAC_LOG {
			continue
		}
		name := rightsFilter + "." + d.name
		out = append(out, &hcm.HttpFilter{Name: name, ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: b.pack(&rbachttp.RBAC{Rules: d.rules})}})
	}
	return out
}
