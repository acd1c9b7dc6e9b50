package translate

import (
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// connections are what connectionSettings say of clients' connections.
// Source: istio.io/api mesh/v1alpha1, message ProxyConfig.ConnectionSettings.
func (b *builder) connections(m *hcm.HttpConnectionManager) {
	c, common := b.Connections, m.GetCommonHttpProtocolOptions()
	for _, s := range []struct {
		said model.Span
		into **durationpb.Duration
	}{
		{c.Idle, &common.IdleTimeout}, {c.MaxAge, &common.MaxConnectionDuration}, {c.MaxStream, &common.MaxStreamDuration},
		{c.Drain, &m.DrainTimeout}, {c.Request, &m.RequestTimeout}, {c.RequestHeaders, &m.RequestHeadersTimeout}, {c.StreamIdle, &m.StreamIdleTimeout},
	} {
		if s.said.Said {
			*s.into = durationpb.New(s.said.For)
		}
	}
	for _, n := range []struct {
		said uint32
		into func(*core.Http2ProtocolOptions) **wrapperspb.UInt32Value
	}{
		{c.Streams, func(o *core.Http2ProtocolOptions) **wrapperspb.UInt32Value { return &o.MaxConcurrentStreams }},
		{c.StreamWindow, func(o *core.Http2ProtocolOptions) **wrapperspb.UInt32Value { return &o.InitialStreamWindowSize }},
		{c.ConnectionWindow, func(o *core.Http2ProtocolOptions) **wrapperspb.UInt32Value { return &o.InitialConnectionWindowSize }},
	} {
		if n.said == 0 {
			continue
		}
		if m.GetHttp2ProtocolOptions() == nil {
			m.Http2ProtocolOptions = &core.Http2ProtocolOptions{}
		}
		*n.into(m.GetHttp2ProtocolOptions()) = wrapperspb.UInt32(n.said)
	}
	if c.Underscores.Said {
		underscores(m, c.Underscores.Do)
	}
}

func underscores(m *hcm.HttpConnectionManager, do model.Underscores) {
	all := map[model.Underscores]core.HttpProtocolOptions_HeadersWithUnderscoresAction{
		model.UnderscoresReject: core.HttpProtocolOptions_REJECT_REQUEST, model.UnderscoresDrop: core.HttpProtocolOptions_DROP_HEADER,
		model.UnderscoresAllow: core.HttpProtocolOptions_ALLOW,
	}
	m.CommonHttpProtocolOptions.HeadersWithUnderscoresAction = all[do]
}

// paths has a manager normalise paths.
func (b *builder) paths(m *hcm.HttpConnectionManager) {
	form := b.PathForm()
	m.NormalizePath, m.MergeSlashes = wrapperspb.Bool(form.Segments), form.Merge
	all := map[model.Slashes]hcm.HttpConnectionManager_PathWithEscapedSlashesAction{
		model.SlashesKeep: hcm.HttpConnectionManager_KEEP_UNCHANGED, model.SlashesReject: hcm.HttpConnectionManager_REJECT_REQUEST,
		model.SlashesRedirect: hcm.HttpConnectionManager_UNESCAPE_AND_REDIRECT, model.SlashesForward: hcm.HttpConnectionManager_UNESCAPE_AND_FORWARD,
	}
	m.PathWithEscapedSlashesAction = all[form.Slashes]
}

// buffers bounds what a connection holds in memory.
func (b *builder) buffers(m validated) {
	switch m := m.(type) {
	case *listener.Listener:
		if n := b.Connections.ListenerBuffer; n > 0 {
			m.PerConnectionBufferLimitBytes = wrapperspb.UInt32(n)
		}
	case *cluster.Cluster:
		if n := b.Connections.ClusterBuffer; n > 0 {
			m.PerConnectionBufferLimitBytes = wrapperspb.UInt32(n)
		}
	}
}
