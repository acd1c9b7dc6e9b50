package config

import (
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	meshv1 "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/hostname"
)

// agentCollectors are the services that Envoy calls by an address of its own.
// Source: istio.io/api mesh/v1alpha1, ProxyConfig.envoyAccessLogService,
// envoyMetricsService and statsdUdpAddress.
func agentCollectors(in, out *meshv1.ProxyConfig, fail failing) {
	out.EnvoyAccessLogService = remoteService(in.GetEnvoyAccessLogService(), "envoyAccessLogService", fail)
	out.EnvoyMetricsService = remoteService(in.GetEnvoyMetricsService(), "envoyMetricsService", fail)
	if at := in.GetStatsdUdpAddress(); at != "" && checkAddress(at, "statsdUdpAddress", fail) {
		out.StatsdUdpAddress = at
	}
}

// checkAddress: HOST:PORT, with the name of a host or an address.
func checkAddress(text, field string, fail failing) bool {
	host, portText, err := net.SplitHostPort(text)
	port, wrong := strconv.ParseUint(portText, 10, 16)
	_, noAddress := netip.ParseAddr(host)
	if err != nil || wrong != nil || port == 0 || noAddress != nil && (hostname.Check(host) != nil || strings.Contains(host, "*")) {
		fail(field, "%q: want HOST:PORT", text)
		return false
	}
	return true
}

// remoteService is what an agent can do; nil: nothing. A service whose TLS cannot
// be as it says is not called at all.
func remoteService(in *meshv1.RemoteService, field string, fail failing) *meshv1.RemoteService {
	if in.GetAddress() == "" {
		return nil
	}
	wrong := false
	note := func(field, format string, args ...any) {
		wrong = true
		fail(field, format, args...)
	}
	checkAddress(in.GetAddress(), field+".address", note)
	out := &meshv1.RemoteService{
		Address: in.GetAddress(), TlsSettings: remoteTLS(in.GetTlsSettings(), field+".tlsSettings", note),
	}
	if k := in.GetTcpKeepalive(); k != nil {
		if k.GetProbes() > MaxKeepaliveProbes {
			note(field+".tcpKeepalive.probes", "want at most %d, the most that Linux sends", MaxKeepaliveProbes)
		}
		out.TcpKeepalive = &networking.ConnectionPoolSettings_TCPSettings_TcpKeepalive{
			Probes: k.GetProbes(), Time: keepaliveTime(k.GetTime(), field+".tcpKeepalive.time", note), Interval: keepaliveTime(k.GetInterval(), field+".tcpKeepalive.interval", note)}
	}
	if wrong {
		return nil
	}
	return out
}

// What Linux takes for a socket's keepalive (include/net/tcp.h, MAX_TCP_KEEP*).
// Beyond it no connection comes about: each fails as its socket is set up.
const (
	MaxKeepalive       = 32767 * time.Second
	MaxKeepaliveProbes = 127
)

func keepaliveTime(d *durationpb.Duration, field string, fail failing) *durationpb.Duration {
	if d != nil && (d.CheckValid() != nil || d.AsDuration() < time.Second || d.AsDuration() > MaxKeepalive) {
		fail(field, "want 1s to %v, the most that Linux waits", MaxKeepalive)
		return nil
	}
	return d
}

// remoteTLS: keys are files of the proxy's own, or the workload's.
func remoteTLS(in *networking.ClientTLSSettings, field string, fail failing) *networking.ClientTLSSettings {
	if in == nil || in.GetMode() == networking.ClientTLSSettings_DISABLE {
		return nil
	}
	if networking.ClientTLSSettings_TLSmode_name[int32(in.GetMode())] == "" {
		fail(field+".mode", "want DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL")
	}
	out := &networking.ClientTLSSettings{Mode: in.GetMode(), SubjectAltNames: in.GetSubjectAltNames(), Sni: in.GetSni(), InsecureSkipVerify: in.GetInsecureSkipVerify()}
	if in.GetCredentialName() != "" || in.GetCaCrl() != "" {
		fail(field, "credentialName and caCrl are not read here: name files that the proxy's container has")
	}
	if in.GetMode() == networking.ClientTLSSettings_ISTIO_MUTUAL {
		if in.GetClientCertificate()+in.GetPrivateKey()+in.GetCaCertificates() != "" || in.GetInsecureSkipVerify().GetValue() {
			fail(field, "mode ISTIO_MUTUAL takes the workload's own certificate and the mesh's roots: leave files and insecureSkipVerify out")
		}
		return out
	}
	out.CaCertificates = in.GetCaCertificates()
	if mutual := in.GetMode() == networking.ClientTLSSettings_MUTUAL; mutual {
		out.ClientCertificate, out.PrivateKey = in.GetClientCertificate(), in.GetPrivateKey()
		if out.GetClientCertificate() == "" || out.GetPrivateKey() == "" {
			fail(field, "mode MUTUAL needs clientCertificate and privateKey")
		}
	}
	for _, file := range []string{out.GetCaCertificates(), out.GetClientCertificate(), out.GetPrivateKey()} {
		if file != "" && (!path.IsAbs(file) || strings.ContainsRune(file, 0)) {
			fail(field, "%q: want the whole path of a file", file)
		}
	}
	return out
}
