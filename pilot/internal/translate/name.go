package translate

import (
	"time"

	dns "github.com/envoyproxy/go-control-plane/envoy/data/dns/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/internal/model"
)

// nameTTL is how long a client may keep an answer. It is short, since the pods
// of a headless service come and go.
const nameTTL = 30 * time.Second

// name renders a DNS answer for the agent's resolver.
// Source: envoy.data.dns.v3.DnsTable.DnsVirtualDomain.
func (b *builder) name(n *model.Name) message {
	return message{name: n.Host, body: &dns.DnsTable_DnsVirtualDomain{
		Name: n.Host, AnswerTtl: durationpb.New(nameTTL),
		Endpoint: &dns.DnsTable_DnsEndpoint{EndpointConfig: &dns.DnsTable_DnsEndpoint_AddressList{AddressList: &dns.DnsTable_AddressList{Address: n.Addresses}}},
	}}
}
