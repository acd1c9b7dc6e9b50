package compile

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// pool reads trafficPolicy.connectionPool; nil is the default.
//
// Source: istio.io/api networking/v1alpha3, message ConnectionPoolSettings.
func (t traffic) pool(in *networking.ConnectionPoolSettings, at diag.Path) *model.ConnectionPool {
	if in == nil {
		return nil
	}
	out := &model.ConnectionPool{}
	t.poolTCP(in.GetTcp(), out, at.Field("tcp"))
	if in.GetHttp() != nil {
		t.poolHTTP(in.GetHttp(), out, at.Field("http"))
	}
	return out
}

func (t traffic) poolTCP(in *networking.ConnectionPoolSettings_TCPSettings, out *model.ConnectionPool, at diag.Path) {
	out.MaxConnections = count(in.GetMaxConnections(), at.Field("maxConnections"), t.d)
	out.ConnectTimeout, _ = positive(in.GetConnectTimeout(), at.Field("connectTimeout"), t.d)
	out.MaxConnectionDuration, _ = positive(in.GetMaxConnectionDuration(), at.Field("maxConnectionDuration"), t.d)
	out.TCPIdleTimeout, _ = notNegative(in.GetIdleTimeout(), at.Field("idleTimeout"), t.d)
	if ka := in.GetTcpKeepalive(); ka != nil {
		k := keepalive(ka, at.Field("tcpKeepalive"), t.d)
		out.Keepalive, out.KeepaliveProbes, out.KeepaliveTime, out.KeepaliveInterval = true, k.Probes, k.Time, k.Interval
	}
}

// keepalive reads a tcpKeepalive; what is too large counts as the largest.
func keepalive(in *networking.ConnectionPoolSettings_TCPSettings_TcpKeepalive, at diag.Path, d *diag.List) model.Keepalive {
	out := model.Keepalive{Probes: in.GetProbes()}
	if out.Probes > config.MaxKeepaliveProbes {
		d.Add(diag.Invalid, at.Field("probes"), "Linux sends at most %d, got %d; it counts as that", config.MaxKeepaliveProbes, out.Probes)
		out.Probes = config.MaxKeepaliveProbes
	}
	span := func(in *durationpb.Duration, at diag.Path) time.Duration {
		v, _ := positive(in, at, d)
		if v > config.MaxKeepalive {
			d.Add(diag.Invalid, at, "Linux waits at most %v, got %v; it counts as that", config.MaxKeepalive, v)
		}
		return min(v, config.MaxKeepalive)
	}
	out.Time, out.Interval = span(in.GetTime(), at.Field("time")), span(in.GetInterval(), at.Field("interval"))
	return out
}

func (t traffic) poolHTTP(in *networking.ConnectionPoolSettings_HTTPSettings, out *model.ConnectionPool, at diag.Path) {
	out.MaxPendingRequests = count(in.GetHttp1MaxPendingRequests(), at.Field("http1MaxPendingRequests"), t.d)
	out.MaxRequests = count(in.GetHttp2MaxRequests(), at.Field("http2MaxRequests"), t.d)
	out.MaxRequestsPerConn = count(in.GetMaxRequestsPerConnection(), at.Field("maxRequestsPerConnection"), t.d)
	out.MaxRetries = count(in.GetMaxRetries(), at.Field("maxRetries"), t.d)
	out.MaxConcurrentStreams = count(in.GetMaxConcurrentStreams(), at.Field("maxConcurrentStreams"), t.d)
	out.HTTPIdleTimeout, _ = positive(in.GetIdleTimeout(), at.Field("idleTimeout"), t.d)
	switch in.GetH2UpgradePolicy() {
	case networking.ConnectionPoolSettings_HTTPSettings_UPGRADE:
		out.H2Upgrade = model.H2Always
	case networking.ConnectionPoolSettings_HTTPSettings_DO_NOT_UPGRADE:
		out.H2Upgrade = model.H2Never
	}
	if out.UseClientProtocol = in.GetUseClientProtocol(); out.UseClientProtocol && out.H2Upgrade == model.H2Always {
		t.d.Add(diag.Invalid, at.Field("useClientProtocol"), "it contradicts h2UpgradePolicy: UPGRADE, which is in force")
		out.UseClientProtocol = false
	}
	if ka := in.GetHttp2KeepAlive(); ka != nil {
		at := at.Field("http2KeepAlive")
		interval, ok := positive(ka.GetInterval(), at.Field("interval"), t.d)
		timeout, both := positive(ka.GetTimeout(), at.Field("timeout"), t.d)
		if ok && both {
			out.HTTP2KeepaliveTime, out.HTTP2KeepaliveTimeout = interval, timeout
		} else if ka.GetInterval() == nil || ka.GetTimeout() == nil {
			t.d.Add(diag.Invalid, at, "interval and timeout must both be set")
		}
	}
}
