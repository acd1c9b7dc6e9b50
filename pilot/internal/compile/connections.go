package compile

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// leastWindow is HTTP/2's own window (RFC 9113, 6.9.2), Envoy's least.
const leastWindow = 1<<16 - 1

// compileConnections reads connectionSettings into out. What a profile says holds
// where nobody says more.
//
// Source: istio.io/api mesh/v1alpha1, message ProxyConfig.ConnectionSettings.
func compileConnections(out *model.Connections, in *mesh.ProxyConfig_ConnectionSettings, at diag.Path, d *diag.List) {
	c := connections{at: at, d: d}
	c.number(&out.ListenerBuffer, in.GetListenerPerConnectionBufferLimitBytes(), "listenerPerConnectionBufferLimitBytes", 1)
	c.number(&out.ClusterBuffer, in.GetClusterPerConnectionBufferLimitBytes(), "clusterPerConnectionBufferLimitBytes", 1)
	c.span(&out.Idle, in.GetHttpIdleTimeout(), "httpIdleTimeout")
	c.span(&out.MaxAge, in.GetHttpMaxConnectionDuration(), "httpMaxConnectionDuration")
	c.span(&out.Drain, in.GetHttpDrainTimeout(), "httpDrainTimeout")
	c.span(&out.Request, in.GetHttpRequestTimeout(), "httpRequestTimeout")
	c.span(&out.RequestHeaders, in.GetHttpRequestHeadersTimeout(), "httpRequestHeadersTimeout")
	c.span(&out.StreamIdle, in.GetHttpStreamIdleTimeout(), "httpStreamIdleTimeout")
	c.span(&out.MaxStream, in.GetHttpMaxStreamDuration(), "httpMaxStreamDuration")
	c.number(&out.Streams, in.GetHttpMaxConcurrentStreams(), "httpMaxConcurrentStreams", 1)
	c.number(&out.StreamWindow, in.GetHttp2InitialStreamWindowSize(), "http2InitialStreamWindowSize", leastWindow)
	c.number(&out.ConnectionWindow, in.GetHttp2InitialConnectionWindowSize(), "http2InitialConnectionWindowSize", leastWindow)
	c.words(out, in)
	switch in.GetProfile() {
	case mesh.ProxyConfig_ConnectionSettings_SIDECAR:
	case mesh.ProxyConfig_ConnectionSettings_EDGE:
		edgeProfile(out)
	default:
		d.Add(diag.Invalid, at.Field("profile"), "%d is none; SIDECAR is in force", in.GetProfile())
	}
}

// connections reads fields one by one; what cannot be leaves what there is.
type connections struct {
	at diag.Path
	d  *diag.List
}

func (c connections) number(out *uint32, in *wrapperspb.Int32Value, field string, least int32) {
	switch {
	case in == nil:
	case in.GetValue() < least:
		c.d.Add(diag.Invalid, c.at.Field(field), "must be %d to %d, got %d", least, math.MaxInt32, in.GetValue())
	default:
		*out = uint32(in.GetValue())
	}
}

func (c connections) span(out *model.Span, in *durationpb.Duration, field string) {
	if v, ok := notNegative(in, c.at.Field(field), c.d); ok {
		*out = model.Span{Said: true, For: v}
	}
}

// words are those that are chosen from a few.
func (c connections) words(out *model.Connections, in *mesh.ProxyConfig_ConnectionSettings) {
	if v := in.GetHttpMergeSlashes(); v != nil {
		out.MergeSlashes = model.No
		if v.GetValue() {
			out.MergeSlashes = model.Yes
		}
	}
	switch v := in.GetHttpPathWithEscapedSlashesAction(); v {
	case mesh.ProxyConfig_ConnectionSettings_PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED:
	case mesh.ProxyConfig_ConnectionSettings_KEEP_UNCHANGED:
		out.Slashes = model.SlashesKeep
	case mesh.ProxyConfig_ConnectionSettings_REJECT_REQUEST:
		out.Slashes = model.SlashesReject
	case mesh.ProxyConfig_ConnectionSettings_UNESCAPE_AND_REDIRECT:
		out.Slashes = model.SlashesRedirect
	case mesh.ProxyConfig_ConnectionSettings_UNESCAPE_AND_FORWARD:
		out.Slashes = model.SlashesForward
	default: // nobody knows what it would have kept out
		c.d.Add(diag.Invalid, c.at.Field("httpPathWithEscapedSlashesAction"), "%d is none; requests with escaped slashes are refused", v)
		out.Slashes = model.SlashesReject
	}
	switch v := in.GetHttpHeadersWithUnderscoresAction(); v {
	case mesh.ProxyConfig_ConnectionSettings_HEADERS_WITH_UNDERSCORES_UNSPECIFIED:
	case mesh.ProxyConfig_ConnectionSettings_HEADERS_WITH_UNDERSCORES_ALLOW:
		out.Underscores = model.OwnUnderscores{Said: true, Do: model.UnderscoresAllow}
	case mesh.ProxyConfig_ConnectionSettings_HEADERS_WITH_UNDERSCORES_REJECT_REQUEST:
		out.Underscores = model.OwnUnderscores{Said: true, Do: model.UnderscoresReject}
	case mesh.ProxyConfig_ConnectionSettings_HEADERS_WITH_UNDERSCORES_DROP_HEADER:
		out.Underscores = model.OwnUnderscores{Said: true, Do: model.UnderscoresDrop}
	default:
		c.d.Add(diag.Invalid, c.at.Field("httpHeadersWithUnderscoresAction"), "%d is none; requests with such headers are refused", v)
		out.Underscores = model.OwnUnderscores{Said: true, Do: model.UnderscoresReject}
	}
}

// edgeProfile is Envoy's advice for proxies at the edge.
//
// Source: istio.io/api mesh/v1alpha1, ProxyConfig.ConnectionSettings.Profile.
func edgeProfile(out *model.Connections) {
	number := func(into *uint32, n uint32) {
		if *into == 0 {
			*into = n
		}
	}
	number(&out.ListenerBuffer, 32<<10)
	number(&out.ClusterBuffer, 32<<10)
	number(&out.Streams, 100)
	number(&out.StreamWindow, 64<<10)
	number(&out.ConnectionWindow, 1<<20)
	span := func(into *model.Span, v time.Duration) {
		if !into.Said {
			*into = model.Span{Said: true, For: v}
		}
	}
	span(&out.Idle, time.Hour)
	span(&out.Request, 5*time.Minute)
	span(&out.StreamIdle, 5*time.Minute)
	if !out.Underscores.Said {
		out.Underscores = model.OwnUnderscores{Said: true, Do: model.UnderscoresReject}
	}
	if out.MergeSlashes == model.Unsaid {
		out.MergeSlashes = model.Yes
	}
	if out.Slashes == model.SlashesUnsaid {
		out.Slashes = model.SlashesRedirect
	}
}
