package translate

import (
	xcore "github.com/cncf/xds/go/xds/core/v3"
	xmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	network "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	xtype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// onMatch says what follows a match.
type onMatch = *xmatcher.Matcher_OnMatch

// toChain takes a filter chain; an empty name takes the one that closes the
// connection. To leave a match out would not close it: where nothing matches,
// Envoy goes on with the on_no_match of the matcher around it, so that a
// strict port would be served as the ports that no service names.
func toChain(name string) onMatch {
	if name == "" {
		name = refuseChain
	}
	return &xmatcher.Matcher_OnMatch{OnMatch: &xmatcher.Matcher_OnMatch_Action{Action: &xcore.TypedExtensionConfig{
		Name: name, TypedConfig: packed(wrapperspb.String(name)),
	}}}
}

func andThen(m *xmatcher.Matcher) onMatch {
	return &xmatcher.Matcher_OnMatch{OnMatch: &xmatcher.Matcher_OnMatch_Matcher{Matcher: m}}
}

func input(name string, config validated) *xcore.TypedExtensionConfig {
	return &xcore.TypedExtensionConfig{Name: name, TypedConfig: packed(config)}
}

// byPort chooses by the port that was dialled.
func byPort(ports map[string]onMatch, rest onMatch) *xmatcher.Matcher {
	return &xmatcher.Matcher{OnNoMatch: rest, MatcherType: tree(&xmatcher.Matcher_MatcherTree{
		Input: input("port", &network.DestinationPortInput{}), TreeType: exactMap(ports),
	})}
}

func tree(t *xmatcher.Matcher_MatcherTree) *xmatcher.Matcher_MatcherTree_ {
	return &xmatcher.Matcher_MatcherTree_{MatcherTree: t}
}

func exactMap(m map[string]onMatch) *xmatcher.Matcher_MatcherTree_ExactMatchMap {
	return &xmatcher.Matcher_MatcherTree_ExactMatchMap{ExactMatchMap: &xmatcher.Matcher_MatcherTree_MatchMap{Map: m}}
}

// choose tells the connections of one port apart.
func choose(p model.InboundPort, n chainNames) onMatch {
	plain := byHTTP(plainHTTPSigns, n.plainHTTP, n.plainTCP)
	if !inspectsTLS(p) {
		return plain
	}
	ways := map[string]onMatch{"tls": tlsWays(p.Mode, n), "raw_buffer": plain}
	return andThen(&xmatcher.Matcher{OnNoMatch: plain, MatcherType: tree(&xmatcher.Matcher_MatcherTree{
		Input: input("transport", &network.TransportProtocolInput{}), TreeType: exactMap(ways),
	})})
}

// tlsWays tells mesh mTLS from the app's own TLS. Under STRICT every TLS must
// be the mesh's.
func tlsWays(mode model.MTLSMode, n chainNames) onMatch {
	mesh := byHTTP(alpnSigns, n.meshHTTP, n.meshTCP)
	if mode == model.MTLSStrict {
		return mesh
	}
	if mode == model.MTLSDisable {
		return toChain(n.appTLS)
	}
	return andThen(&xmatcher.Matcher{OnNoMatch: toChain(n.appTLS), MatcherType: tree(&xmatcher.Matcher_MatcherTree{
		Input:    input("sni", &network.ServerNameInput{}),
		TreeType: &xmatcher.Matcher_MatcherTree_PrefixMatchMap{PrefixMatchMap: &xmatcher.Matcher_MatcherTree_MatchMap{Map: map[string]onMatch{"outbound_.": mesh}}},
	})})
}

// What the inspectors find of HTTP: in the first bytes of plaintext, and in
// the ALPN of mesh mTLS, where a client's proxy offers none for bytes.
var (
	plainHTTPSigns = []string{"'http/1.0'", "'http/1.1'", "'h2c'"}
	alpnSigns      = []string{"'h2'", "'http/1.1'"}
)

// byHTTP chooses between the chains for HTTP and for bytes, if both are there.
func byHTTP(signs []string, http, bytes string) onMatch {
	switch {
	case http == "":
		return toChain(bytes)
	case bytes == "":
		return toChain(http)
	}
	var any []*xmatcher.Matcher_MatcherList_Predicate
	for _, sign := range signs {
		any = append(any, &xmatcher.Matcher_MatcherList_Predicate{MatchType: &xmatcher.Matcher_MatcherList_Predicate_SinglePredicate_{
			SinglePredicate: &xmatcher.Matcher_MatcherList_Predicate_SinglePredicate{
				Input: input("application", &network.ApplicationProtocolInput{}),
				Matcher: &xmatcher.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{
					ValueMatch: &xmatcher.StringMatcher{MatchPattern: &xmatcher.StringMatcher_Contains{Contains: sign}},
				},
			},
		}})
	}
	return andThen(&xmatcher.Matcher{OnNoMatch: toChain(bytes), MatcherType: &xmatcher.Matcher_MatcherList_{MatcherList: &xmatcher.Matcher_MatcherList{
		Matchers: []*xmatcher.Matcher_MatcherList_FieldMatcher{{
			Predicate: &xmatcher.Matcher_MatcherList_Predicate{MatchType: &xmatcher.Matcher_MatcherList_Predicate_OrMatcher{
				OrMatcher: &xmatcher.Matcher_MatcherList_Predicate_PredicateList{Predicate: any},
			}},
			OnMatch: toChain(http),
		}},
	}}})
}

// withoutTLS are the connections that need no look for TLS.
func withoutTLS(in *model.Inbound) skip {
	return onPorts(in, func(p model.InboundPort) bool { return !inspectsTLS(p) })
}

// withoutDetection are the connections that need no look for HTTP.
func withoutDetection(in *model.Inbound) skip {
	return onPorts(in, func(p model.InboundPort) bool { return p.Protocol != model.ProtocolAuto })
}

// onPorts holds for those ports of in that are as said; nil if there is none.
func onPorts(in *model.Inbound, as func(model.InboundPort) bool) skip {
	var any []*listener.ListenerFilterChainMatchPredicate
	for _, p := range in.Ports {
		if as(p) {
			any = append(any, &listener.ListenerFilterChainMatchPredicate{Rule: &listener.ListenerFilterChainMatchPredicate_DestinationPortRange{
				DestinationPortRange: &xtype.Int32Range{Start: int32(p.Port), End: int32(p.Port) + 1},
			}})
		}
	}
	switch len(any) {
	case 0:
		return nil
	case 1:
		return any[0]
	default:
		return &listener.ListenerFilterChainMatchPredicate{Rule: &listener.ListenerFilterChainMatchPredicate_OrMatch{
			OrMatch: &listener.ListenerFilterChainMatchPredicate_MatchSet{Rules: any},
		}}
	}
}
