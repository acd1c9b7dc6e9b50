package translate

import (
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftmesh/weft/internal/model"
)

// What the RBAC filter writes of a request that it denies, and what is read of it:
// rbac_access_denied_matched_policy[ns[NAMESPACE]-policy[NAME]-rule[0]], or [none].
// Before ns[ is the provider of a CUSTOM policy that cannot be asked, which may be
// any text: the last ns[ counts.
const (
	isDenied  = `response.code_details.startsWith('rbac_access_denied_matched_policy[')`
	readsName = `%CEL(response.code_details.contains(']-policy[') ? ` +
		`re.extract(response.code_details,'.*ns\\[([^]]+)\\]-policy\\[([^]]+)\\]','\\1/\\2') : '` + model.DenierNone + `')%`
)

// tellDenier has who is denied told by which policy, where the mesh wants it.
func (b *builder) tellDenier(m *hcm.HttpConnectionManager) {
	if b.DeniedBy != model.DeniedByHeader || len(b.rights()) == 0 {
		return
	}
	if m.LocalReplyConfig == nil {
		m.LocalReplyConfig = &hcm.LocalReplyConfig{}
	}
	m.LocalReplyConfig.Mappers = append(m.LocalReplyConfig.Mappers, &hcm.ResponseMapper{
		Filter: b.expressionFilter(isDenied),
		HeadersToAdd: []*core.HeaderValueOption{{
			Header: &core.HeaderValue{Key: model.DenierHeader, Value: readsName}, AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}},
	})
}
