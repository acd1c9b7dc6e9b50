package simulate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	upstreams "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Spread is how requests are spread over the endpoints of a cluster.
type Spread string

// One endpoint gets all requests with one Way.Key; in rotation each gets the
// next one; else chance decides, by Target.Share.
const (
	SpreadOne      Spread = "one"
	SpreadRotation Spread = "rotation"
	SpreadChance   Spread = "chance"
)

// Way is how a cluster chooses an endpoint and keeps its connections.
type Way struct {
	Spread Spread
	// Key is what of the request chooses the endpoint, with SpreadOne.
	Key string
	// Table is that of a hash: "ring ENTRIES", or "maglev LEAST..MOST" entries of
	// an endpoint; "" without.
	Table string
	// Protocol to the endpoint: "HTTP/1.1" or "HTTP/2.0"; "" for no HTTP.
	Protocol string
	// AsWritten: names of headers keep their case both ways.
	AsWritten bool
	// Reuse is how many requests a connection carries at most; 0: no limit.
	Reuse uint32
	// Streams is how many requests a connection carries at once at most; 0: no
	// limit that matters here.
	Streams uint32
	// Pings is how often the proxy asks the other end of a connection for a sign
	// of life; 0: never.
	Pings time.Duration
	// Keepalive are the options of the connection's socket.
	Keepalive Keepalive
	// Closes is how soon a connection without requests is closed, 0: Envoy's
	// hour.
	Closes time.Duration
	// patience is how long an answer to a ping may take.
	patience time.Duration
}

// Keepalive is how the system probes a silent connection; where On is set, 0
// is the system's default.
type Keepalive struct {
	On             bool
	Time, Interval time.Duration
	Probes         uint32
}

const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// way reads how cl treats the request of w, under the route's action.
func (w walk) way(cl *cluster.Cluster, a *route.RouteAction) (Way, error) {
	out := Way{Protocol: "HTTP/1.1", Keepalive: keepalive(cl)}
	if packed := cl.GetTypedExtensionProtocolOptions()[httpOptions]; packed != nil {
		options := &upstreams.HttpProtocolOptions{}
		if err := packed.UnmarshalTo(options); err != nil {
			return out, err
		}
		explicit, downstream := options.GetExplicitHttpConfig(), options.GetUseDownstreamProtocolConfig()
		if own := explicit.GetHttp2ProtocolOptions(); own != nil {
			out.overHTTP2(own)
		} else if downstream != nil && w.call.HTTP2 {
			out.overHTTP2(downstream.GetHttp2ProtocolOptions())
		}
		out.AsWritten = w.keepsCase(options) && out.Protocol == "HTTP/1.1" && !w.call.HTTP2
		common := options.GetCommonHttpProtocolOptions()
		out.Reuse = common.GetMaxRequestsPerConnection().GetValue()
		out.Closes = common.GetIdleTimeout().AsDuration()
		if most := common.GetMaxConnectionDuration().AsDuration(); most > 0 && (out.Closes == 0 || most < out.Closes) {
			out.Closes = most
		}
		if w.call.Upstream.Mute && out.Pings > 0 {
			out.Closes = out.Pings + out.patience
		}
	}
	if typed := cl.GetLoadBalancingPolicy(); typed != nil {
		var err error
		out.Spread, err = byPolicy(typed)
		return out, err
	}
	switch cl.GetLbPolicy() {
	case cluster.Cluster_ROUND_ROBIN:
		out.Spread = SpreadRotation
	case cluster.Cluster_RANDOM, cluster.Cluster_LEAST_REQUEST, cluster.Cluster_CLUSTER_PROVIDED:
		out.Spread = SpreadChance
	case cluster.Cluster_RING_HASH, cluster.Cluster_MAGLEV:
		out.Spread, out.Key = SpreadChance, w.hashKey(a)
		out.Table = hashTable(cl, len(w.out.Upstreams))
		if out.Key != "" {
			out.Spread = SpreadOne
		}
	default:
		return out, unknown("lb_policy %v", cl.GetLbPolicy())
	}
	if out.Spread == SpreadRotation && uneven(w.out.Upstreams) {
		out.Spread = SpreadChance
	}
	return out, nil
}

// hashTable is the table over n endpoints of one weight. A ring has as many
// entries for each. Source: "Supported load balancers" of Envoy's documentation.
func hashTable(cl *cluster.Cluster, n int) string {
	if cl.GetLbPolicy() == cluster.Cluster_MAGLEV {
		size := int(orElse(cl.GetMaglevLbConfig().GetTableSize(), 65537))
		return fmt.Sprintf("maglev %d..%d", size/n, (size+n-1)/n)
	}
	least := int(orElse(cl.GetRingHashLbConfig().GetMinimumRingSize(), 1024))
	return fmt.Sprintf("ring %d", (least+n-1)/n*n)
}

func orElse(v *wrapperspb.UInt64Value, otherwise uint64) uint64 {
	if v == nil {
		return otherwise
	}
	return v.GetValue()
}

func (out *Way) overHTTP2(options *core.Http2ProtocolOptions) {
	out.Protocol, out.Streams = "HTTP/2.0", options.GetMaxConcurrentStreams().GetValue()
	out.Pings, out.patience = options.GetConnectionKeepalive().GetInterval().AsDuration(), options.GetConnectionKeepalive().GetTimeout().AsDuration()
}

func keepalive(cl *cluster.Cluster) Keepalive {
	k := cl.GetUpstreamConnectionOptions().GetTcpKeepalive()
	seconds := func(v *wrapperspb.UInt32Value) time.Duration { return time.Duration(v.GetValue()) * time.Second }
	return Keepalive{On: k != nil, Time: seconds(k.GetKeepaliveTime()), Interval: seconds(k.GetKeepaliveInterval()), Probes: k.GetKeepaliveProbes().GetValue()}
}

// serverNames fills in the server name where it is the request's host.
func (w *walk) serverNames(cl *cluster.Cluster) error {
	options := &upstreams.HttpProtocolOptions{}
	packed := cl.GetTypedExtensionProtocolOptions()[httpOptions]
	if packed == nil {
		return nil
	}
	if err := packed.UnmarshalTo(options); err != nil || !options.GetUpstreamHttpProtocolOptions().GetAutoSni() {
		return err
	}
	host, _, _ := cutPort(w.out.Request.Host)
	w.out.Upstreams = slices.Clone(w.out.Upstreams)
	for i := range w.out.Upstreams {
		if w.out.Upstreams[i].TLS {
			w.out.Upstreams[i].SNI = host
			if options.GetUpstreamHttpProtocolOptions().GetAutoSanValidation() {
				w.out.Upstreams[i].Names = []string{host}
			}
		}
	}
	return nil
}

// hashKey is what of the request the policies of a hash; "" if it has none of
// it. Source: envoy.config.route.v3.RouteAction.HashPolicy.
func (w walk) hashKey(a *route.RouteAction) (key string) {
	for _, p := range a.GetHashPolicy() {
		switch s := p.GetPolicySpecifier().(type) {
		case *route.RouteAction_HashPolicy_Header_:
			if v, ok := w.lookup(s.Header.GetHeaderName()); ok {
				key += "header " + v + "\n"
			}
		case *route.RouteAction_HashPolicy_Cookie_:
			if v, ok := w.cookie(s.Cookie.GetName()); ok {
				key += "cookie " + v + "\n"
			} else if s.Cookie.GetTtl() != nil {
				key += "cookie of " + w.conn.source.String() + "\n"
			}
		case *route.RouteAction_HashPolicy_QueryParameter_:
			if v, ok := queryValue(w.out.Request.Path, s.QueryParameter.GetName()); ok {
				key += "query " + v + "\n"
			}
		case *route.RouteAction_HashPolicy_ConnectionProperties_:
			key += "source " + w.conn.source.Addr().String() + "\n"
		}
		if key != "" && p.GetTerminal() {
			break
		}
	}
	return key
}

func (w walk) cookie(name string) (value string, sent bool) {
	value, sent = w.cookies()[name]
	return value, sent
}

func queryValue(path, name string) (value string, there bool) {
	_, query, _ := strings.Cut(path, "?")
	for pair := range strings.SplitSeq(query, "&") {
		if key, value, _ := strings.Cut(pair, "="); key == name {
			return value, true
		}
	}
	return "", false
}

// cookieMade puts on the answer the cookie that a hash policy makes where the
// request has none. Its value is Envoy's affair.
func (w walk) cookieMade(a *route.RouteAction, h Headers) Headers {
	for _, p := range a.GetHashPolicy() {
		c := p.GetCookie()
		if c == nil || c.GetTtl() == nil {
			continue
		}
		if _, sent := w.cookie(c.GetName()); sent {
			continue
		}
		text := c.GetName() + `="?"`
		if ttl := c.GetTtl().AsDuration(); ttl > 0 {
			text += "; Max-Age=" + strconv.Itoa(int(ttl/time.Second))
		}
		if c.GetPath() != "" {
			text += "; Path=" + c.GetPath()
		}
		for _, attribute := range c.GetAttributes() {
			text += "; " + attribute.GetName()
			if attribute.GetValue() != "" {
				text += "=" + attribute.GetValue()
			}
		}
		h = h.With("set-cookie", text+"; HttpOnly")
	}
	return h
}
