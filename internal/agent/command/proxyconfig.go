package command

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/weftmesh/weft/internal/agent"
	"github.com/weftmesh/weft/internal/agent/bootstrap"
	"github.com/weftmesh/weft/internal/agent/node"
)

// proxyConfig is what the agent reads of Istio's PROXY_CONFIG: the part of a
// ProxyConfig that Envoy starts with. Other fields are for those who read them.
// Source: istio.io/api mesh/v1alpha1, message ProxyConfig, in its JSON form.
type proxyConfig struct {
	ProxyStatsMatcher struct {
		InclusionPrefixes, InclusionSuffixes, InclusionRegexps []string
	}
	RuntimeValues      map[string]any // of a gateway as its chart has them
	FileFlushInterval  string
	FileFlushMinSizeKb uint32
	ConnectionSettings struct{ GlobalDownstreamConnectionLimit, ListenerConnectionLimit int64 }
	TracingServiceName node.Naming
	StatsdUDPAddress   string `json:"statsdUdpAddress"`

	EnvoyAccessLogService, EnvoyMetricsService *remoteService
}

// remoteService is Istio's message of the name.
type remoteService struct {
	Address     string
	TLSSettings *struct {
		Mode, CaCertificates, ClientCertificate, PrivateKey, Sni string
		SubjectAltNames                                          []string
		InsecureSkipVerify                                       bool
	} `json:"tlsSettings"`
	TCPKeepalive *struct {
		Probes         uint32
		Time, Interval string
	} `json:"tcpKeepalive"`
}

// readProxyConfig adds what PROXY_CONFIG says to how Envoy is run, and to how the
// pod is called.
func readProxyConfig(text string, into *agent.EnvoyOptions, pod *node.Node) error {
	if text == "" {
		return nil
	}
	var in proxyConfig
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return fmt.Errorf("PROXY_CONFIG: want a ProxyConfig in JSON: %w", err)
	}
	if in.FileFlushInterval != "" {
		d, err := time.ParseDuration(in.FileFlushInterval)
		if err != nil || d < time.Millisecond {
			return fmt.Errorf("PROXY_CONFIG: fileFlushInterval %q: want 1ms or more", in.FileFlushInterval)
		}
		into.FlushInterval = d
	}
	m := in.ProxyStatsMatcher
	into.Stats = bootstrap.Stats{Prefixes: m.InclusionPrefixes, Suffixes: m.InclusionSuffixes, Regexps: m.InclusionRegexps}
	if n := in.ConnectionSettings.GlobalDownstreamConnectionLimit; n > 0 {
		into.MaxConnections = n
	}
	into.FlushKB, into.Runtime = in.FileFlushMinSizeKb, map[string]string{}
	for name, v := range in.RuntimeValues {
		into.Runtime[name] = fmt.Sprint(v)
	}
	into.InboundLimit, into.Statsd, pod.Naming = in.ConnectionSettings.ListenerConnectionLimit, in.StatsdUDPAddress, in.TracingServiceName
	var err error
	if into.AccessLogs, err = in.EnvoyAccessLogService.remote(); err != nil {
		return fmt.Errorf("PROXY_CONFIG: envoyAccessLogService: %w", err)
	}
	if into.Metrics, err = in.EnvoyMetricsService.remote(); err != nil {
		return fmt.Errorf("PROXY_CONFIG: envoyMetricsService: %w", err)
	}
	return nil
}

// remote is the service as the bootstrap has it; nil: there is none.
func (s *remoteService) remote() (*bootstrap.Remote, error) {
	if s == nil || s.Address == "" {
		return nil, nil
	}
	host, portText, err := net.SplitHostPort(s.Address)
	port, wrong := strconv.ParseUint(portText, 10, 16)
	if err != nil || wrong != nil {
		return nil, fmt.Errorf("address %q: want HOST:PORT", s.Address)
	}
	out := &bootstrap.Remote{Host: host, Port: uint16(port)}
	if t := s.TLSSettings; t != nil && t.Mode != "" && t.Mode != "DISABLE" {
		if !slices.Contains([]string{"SIMPLE", "MUTUAL", "ISTIO_MUTUAL"}, t.Mode) {
			return nil, fmt.Errorf("tlsSettings.mode %q: want DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL", t.Mode)
		}
		out.TLS = &bootstrap.RemoteTLS{
			Mesh: t.Mode == "ISTIO_MUTUAL", CA: t.CaCertificates, Certificate: t.ClientCertificate, Key: t.PrivateKey,
			Insecure: t.InsecureSkipVerify, SNI: t.Sni, Names: t.SubjectAltNames,
		}
	}
	if k := s.TCPKeepalive; k != nil {
		out.Keepalive = &bootstrap.Keepalive{Probes: k.Probes}
		if out.Keepalive.Time, err = duration(k.Time); err == nil {
			out.Keepalive.Interval, err = duration(k.Interval)
		}
		if err != nil {
			return nil, fmt.Errorf("tcpKeepalive: %w", err)
		}
	}
	return out, nil
}

// duration of no text is 0.
func duration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	return time.ParseDuration(text)
}
