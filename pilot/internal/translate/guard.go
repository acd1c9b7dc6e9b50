package translate

import (
	"slices"

	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftmesh/weft/internal/model"
)

// guard puts what a request passes before everything else in front of m's
// filters: its token is checked, then the policies that may ask for the token's
// claims. as is the form in which these can ask.
func (b *builder) guard(m *hcm.HttpConnectionManager, as form) {
	b.withoutClaims(m)
	m.HttpFilters = slices.Concat(b.tokenFilters(), b.rightsFilters(as), m.GetHttpFilters())
	b.tellDenier(m)
}

// guardOrigins are the objects that they come from.
func (b *builder) guardOrigins() (out []model.Origin) {
	for _, p := range b.tokens() {
		out = append(out, p.Origin)
	}
	return append(out, b.rightsOrigins()...)
}
