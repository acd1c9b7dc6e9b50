package compile

import (
	"cmp"
	"strings"

	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// Names that Istio gives to what is logged by Envoy's access log service where
// nobody names it, and to the cluster of it that a proxy's bootstrap has where its
// ProxyConfig says envoyAccessLogService.
const (
	httpLogName   = "http_envoy_accesslog"
	tcpLogName    = "tcp_envoy_accesslog"
	bootstrapLogs = "envoy_accesslog_service"
)

// Names of logs without a provider's: no provider can be called so.
const (
	ofFile        = "\x00file"
	ofServiceHTTP = "\x00http"
	ofServiceTCP  = "\x00tcp"
)

// logsOfBootstrap are those of MeshConfig's enableEnvoyAccessLogService.
func logsOfBootstrap() []*model.LogProvider {
	return []*model.LogProvider{
		{Name: ofServiceHTTP, Collector: &model.LogCollector{Cluster: bootstrapLogs, Protocol: model.HTTPLogs, LogName: httpLogName}},
		{Name: ofServiceTCP, Collector: &model.LogCollector{Cluster: bootstrapLogs, Protocol: model.TCPLogs, LogName: tcpLogName}},
	}
}

// checkLogsOfBootstrap: they go where a proxy's own configuration says.
func checkLogsOfBootstrap(in *mesh.MeshConfig, d *diag.List) {
	if in.GetEnableEnvoyAccessLogService() && in.GetDefaultConfig().GetEnvoyAccessLogService().GetAddress() == "" {
		d.Add(diag.NoCollector, "enableEnvoyAccessLogService", "defaultConfig.envoyAccessLogService.address is empty, and only proxies whose own ProxyConfig has one log there")
	}
}

// httpLogService reads a collector of records of requests; nil: it cannot be used.
// Source: istio.io/api mesh/v1alpha1, EnvoyHttpGrpcV3LogProvider.
func httpLogService(in *mesh.MeshConfig_ExtensionProvider_EnvoyHttpGrpcV3LogProvider, at diag.Path, d *diag.List) *model.LogCollector {
	out, ok := logService(in, at, d)
	out.Protocol, out.LogName = model.HTTPLogs, cmp.Or(out.LogName, httpLogName)
	headers := func(field string, names []string) []string {
		for i, name := range names {
			// Envoy knows headers such as :path by names that are no tokens.
			ok = checkHeaderName(strings.TrimPrefix(name, ":"), at.Field(field).Index(i), d) && ok
		}
		return names
	}
	out.RequestHeaders = headers("additionalRequestHeadersToLog", in.GetAdditionalRequestHeadersToLog())
	out.ResponseHeaders = headers("additionalResponseHeadersToLog", in.GetAdditionalResponseHeadersToLog())
	out.ResponseTrailers = headers("additionalResponseTrailersToLog", in.GetAdditionalResponseTrailersToLog())
	if !ok {
		return nil
	}
	return out
}

// tcpLogService reads a collector of records of connections; nil: it cannot be used.
// Source: istio.io/api mesh/v1alpha1, EnvoyTcpGrpcV3LogProvider.
func tcpLogService(in *mesh.MeshConfig_ExtensionProvider_EnvoyTcpGrpcV3LogProvider, at diag.Path, d *diag.List) *model.LogCollector {
	out, ok := logService(in, at, d)
	if out.Protocol, out.LogName = model.TCPLogs, cmp.Or(out.LogName, tcpLogName); !ok {
		return nil
	}
	return out
}

// logService reads what both have.
func logService(in interface {
	GetService() string
	GetPort() uint32
	GetLogName() string
	GetFilterStateObjectsToLog() []string
}, at diag.Path, d *diag.List) (*model.LogCollector, bool) {
	callee, ok := compileCallee(in.GetService(), in.GetPort(), at, d)
	ok = checkText(in.GetLogName(), at.Field("logName"), d) && ok
	for i, name := range in.GetFilterStateObjectsToLog() {
		ok = checkText(name, at.Field("filterStateObjectsToLog").Index(i), d) && ok
	}
	return &model.LogCollector{Callee: callee, LogName: in.GetLogName(), FilterState: in.GetFilterStateObjectsToLog()}, ok
}
