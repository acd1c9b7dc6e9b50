package translate

import (
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/weftmesh/weft/internal/model"
)

// Most clusters of a mesh are those of services of which no object says more
// than the mesh does: they differ in their names, and in who may answer. So
// these are written by hand around what they have in common, which is made and
// checked once.

// manner is all that a cluster's way with connections and requests goes by; two
// clusters of one manner differ only in whom they call.
type manner struct {
	way
	traffic  model.Traffic
	locality *model.LocalityPolicy
}

// way is a manner but for what objects say.
type way struct {
	wire                wire
	eds, dialled, asked bool // none: found by DNS
	auto                bool // endpoints that do not take mesh mTLS get plaintext
	session             bool // clients may go on at endpoints that drain
	unsaid              bool // the traffic is that of no object, not even the mesh's own
}

func (b *builder) mannerOf(c *model.Cluster) manner {
	return manner{traffic: c.Traffic, locality: c.Locality, way: way{
		wire: b.wireOf(c.Port.Protocol, c.Traffic.Pool), eds: c.EDS(), dialled: c.Dialled(), asked: c.Service.Resolve == model.ResolveAsked,
		auto: b.autoMTLS(c), session: c.Service.Session != nil, unsaid: c.Traffic == model.Traffic{},
	}}
}

// usual reports whether a manner is that of most clusters: of those of which no
// object says more than the mesh does. Then its way says all of it.
func (b *builder) usual(m *manner) bool {
	return m.locality == nil && (m.unsaid || m.traffic == b.Defaults.Traffic)
}

// named reports whether a cluster of a usual manner has nothing of its own but
// names, all of which Envoy takes. TestUsualClusterFields holds it to every field
// that there is.
func (b *builder) named(c *model.Cluster, m *manner) bool {
	switch {
	case !m.eds && !m.dialled && !m.asked, otherPort(c, m),
		c.Service.HealthCheck != nil || c.Traffic.TLS != nil || c.Traffic.ProxyProtocol != nil,
		!nameable(c.Name) || len(c.SNI) > longestSNI:
		return false
	}
	for _, s := range [...]string{c.SNI, c.Subset, c.Port.Name, string(c.Origin), c.Service.Host, c.Service.Name, c.Service.Namespace} {
		if !plainText(s) {
			return false
		}
	}
	for _, id := range c.Identities {
		if !plainText(id) {
			return false
		}
	}
	return true
}

// Fields of Envoy's messages.
const (
	clusterName, clusterMetadata, clusterStat, clusterSockets  = 1, 25, 28, 43
	matchName, matchWhom, matchSocket, socketName, socketTyped = 1, 2, 3, 1, 3
	anyType, anyValue                                          = 1, 2
)

// usualCluster writes a usual cluster that is named.
// Source: envoy.config.cluster.v3.Cluster.
func (b *builder) usualCluster(c *model.Cluster, m *manner) []byte {
	e := b.hand()
	e.text(clusterName, c.Name)
	e.within(clusterMetadata, func() { e.cluster(c) })
	if name := statName(b.Defaults.OutboundStat, c); name != "" {
		e.text(clusterStat, name)
	}
	if m.auto {
		e.within(clusterSockets, func() {
			e.text(matchName, meshMatch)
			e.within(matchWhom, e.speaksMesh)
			e.within(matchSocket, func() {
				e.text(socketName, tlsSocket)
				e.within(socketTyped, func() {
					e.text(anyType, upstreamTLS)
					e.within(anyValue, func() { b.meshUpstream(e, c.SNI, c.Identities) })
				})
			})
		})
	}
	common, ok := b.trunks[m.way]
	if !ok {
		common = trunk(b, e.bytes, m.way, b.common(m))
	}
	e.bytes = append(e.bytes, common...)
	return e.bytes
}

// common is what all clusters of a manner have.
func (b *builder) common(m *manner) *cluster.Cluster {
	c := &cluster.Cluster{}
	b.behave(c, m)
	b.buffers(c)
	return c
}
