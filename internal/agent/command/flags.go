package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/internal/agent"
	"github.com/weftmesh/weft/internal/agent/bootstrap"
	"github.com/weftmesh/weft/internal/agent/node"
	"github.com/weftmesh/weft/internal/spiffe"
)

// flags are the command line of a proxy, before they are checked.
type flags struct {
	runDir, envoy, envoyLogLevel      string
	componentLogLevel, labelsFile     string
	concurrency                       int
	maxConnections                    int64
	pilot                             []string
	pilotAccount, caAccount           string
	insecurePilot                     bool
	proxyless                         bool // no flag: the command says it
	groupAccess                       bool
	ca, rootCert, token, workloadSDS  string
	certTTL                           time.Duration
	dnsListen, dnsUpstream, dnsSearch []string
	dnsSockets                        int
	domain                            string
	drainMax, drainMin, drainIdle     time.Duration
	socketMark                        uint32
	ports                             bootstrap.Ports
	logLevel                          slog.Level
}

func (f *flags) register(set *pflag.FlagSet) {
	set.SortFlags = false
	f.registerMesh(set)
	set.StringVar(&f.envoy, "envoy", "envoy", "Envoy's binary: a path, or a name on the PATH")
	set.IntVar(&f.concurrency, "concurrency", 2, "Envoy's worker threads")
	set.StringVar(&f.workloadSDS, "workload-sds", "/var/run/secrets/workload-spiffe-uds/socket", `socket of another SDS server, such as SPIRE's, used where its folder is there: Envoy's certificate and roots come from it instead of the CA; "": never`)
	set.StringVar(&f.envoyLogLevel, "envoy-log-level", "warning", "trace, debug, info, warning, error, critical or off")
	set.StringVar(&f.componentLogLevel, "envoy-component-log-level", "", "COMPONENT:LEVEL,... for parts of Envoy")
	set.Int64Var(&f.maxConnections, "max-connections", 50_000, "downstream connections that Envoy takes at once")

	set.StringSliceVar(&f.dnsListen, "dns-listen", nil, "ADDR:PORT to answer the pod's DNS on, UDP and TCP; none: no DNS")
	set.IntVar(&f.dnsSockets, "dns-sockets", 0, "how many sockets for the pod's DNS the agent was started with, UDP and TCP in turns from descriptor 3 on, in place of --dns-listen")
	set.StringSliceVar(&f.dnsUpstream, "dns-upstream", nil, "servers for other names, HOST[:PORT], or the path of one resolv.conf; none: no other name exists")
	set.StringSliceVar(&f.dnsSearch, "dns-search", nil, "suffixes for short names; none: resolv.conf's, else the namespace's")

	set.DurationVar(&f.drainMax, "drain-duration", 20*time.Second, "longest wait for inbound connections to end at a stop")
	set.DurationVar(&f.drainIdle, "drain-idle", 5*time.Second, "longest wait for inbound connections that carry no request")
	set.DurationVar(&f.drainMin, "drain-minimum", 2*time.Second, "shortest drain, for clients to learn of it")
	set.Uint16Var(&f.ports.Admin, "admin-port", 15000, "Envoy's admin port, on loopback")
	set.Uint16Var(&f.ports.Health, "health-port", 15021, "Envoy's listener for /healthz/ready")
	set.Uint16Var(&f.ports.Prometheus, "prometheus-port", 15090, "Envoy's listener for its own metrics")
}

// registerMesh adds the flags by which a process is of a mesh, with Envoy or
// without.
func (f *flags) registerMesh(set *pflag.FlagSet) {
	set.SortFlags = false
	set.StringVar(&f.runDir, "run-dir", "/run/weft", "folder for sockets, Envoy's bootstrap and pid file; of this agent alone")
	set.StringVar(&f.labelsFile, "labels-file", "", "file of the pod's labels, NAME=\"VALUE\" lines as a Kubernetes downward volume has them; they win over ISTIO_METAJSON_LABELS")
	set.StringSliceVar(&f.pilot, "pilot", []string{"weft-pilot.weft-system.svc:15012"}, "HOST:PORT of the pilot; several are tried in turn")
	set.StringVar(&f.pilotAccount, "pilot-identity", "weft-system/weft-pilot", "NAMESPACE/SERVICE-ACCOUNT that the pilot must prove, or a whole spiffe:// URI")
	set.BoolVar(&f.insecurePilot, "insecure-pilot", false, "speak plaintext to a pilot on loopback, for debugging")
	set.StringVar(&f.ca, "ca", "weft-ca.weft-system.svc:15012", `HOST:PORT of the CA; "" with --insecure-pilot: no certificates`)
	set.StringVar(&f.caAccount, "ca-identity", "weft-system/weft-ca", "NAMESPACE/SERVICE-ACCOUNT that the CA must prove, or a whole spiffe:// URI")
	set.StringVar(&f.rootCert, "root-cert", "/var/run/secrets/istio/root-cert.pem", "PEM file of the trusted roots, read again when it changes")
	set.StringVar(&f.token, "token", "/var/run/secrets/tokens/istio-token", "file of the token that proves who this pod is")
	set.DurationVar(&f.certTTL, "cert-ttl", 0, "validity to ask the CA for; 0: SECRET_TTL, else the CA's own")
	set.StringVar(&f.domain, "domain", "cluster.local", "DNS domain of the cluster")
	set.Uint32Var(&f.socketMark, "socket-mark", 0, "mark that excludes the proxy's sockets from capture; 0: none")
	set.Uint16Var(&f.ports.Status, "status-port", 15020, "the agent's health and merged metrics")
	set.TextVar(&f.logLevel, "log-level", slog.LevelInfo, "DEBUG, INFO, WARN or ERROR")
}

// options checks what only a command line can get wrong; the rest is for
// agent.Run to say.
func (f *flags) options(pod node.Node, getenv func(string) string) (agent.Options, error) {
	pod.Domain = f.domain
	if err := f.addLabels(&pod); err != nil {
		return agent.Options{}, err
	}
	pod = pod.WithDefaults()
	envoy, err := f.binary()
	if err != nil {
		return agent.Options{}, err
	}
	pilot, err := account("--pilot-identity", f.pilotAccount, pod.TrustDomain)
	if err != nil {
		return agent.Options{}, err
	}
	ca, err := account("--ca-identity", f.caAccount, pod.TrustDomain)
	if err != nil {
		return agent.Options{}, err
	}
	ttl, err := f.lifetime(getenv)
	if err != nil {
		return agent.Options{}, err
	}
	run := agent.EnvoyOptions{
		Path: envoy, Concurrency: f.concurrency, LogLevel: f.envoyLogLevel, ComponentLevel: f.componentLogLevel, MaxConnections: f.maxConnections}
	if err := readProxyConfig(getenv("PROXY_CONFIG"), &run, &pod); err != nil {
		return agent.Options{}, err
	}
	ofMesh, wrong := count(getenv, "WEFT_MESH_SAMPLES")
	ofApp, err := count(getenv, "WEFT_APP_SAMPLES")
	if err = errors.Join(wrong, err); err != nil {
		return agent.Options{}, err
	}
	return agent.Options{
		MeshSamples: ofMesh, AppSamples: ofApp,
		Node: pod, Ports: f.ports, RunDir: f.runDir, SocketMark: f.socketMark, Proxyless: f.proxyless, GroupAccess: f.groupAccess, WorkloadSDS: f.workloadSDS,
		Envoy:          run,
		Pilot:          agent.PilotOptions{Addresses: f.pilot, ID: pilot, Insecure: f.insecurePilot},
		CA:             agent.CAOptions{Address: f.ca, ID: ca, RootsFile: f.rootCert, TokenFile: f.token, TTL: ttl},
		DNS:            agent.DNSOptions{Listen: f.dnsListen, Sockets: f.dnsSockets, Upstream: f.dnsUpstream, Search: f.dnsSearch},
		Drain:          agent.DrainOptions{Max: f.drainMax, Min: f.drainMin, Idle: f.drainIdle},
		AppAnnotations: getenv("ISTIO_PROMETHEUS_ANNOTATIONS"), AppProbes: getenv("ISTIO_KUBE_APP_PROBERS"), HealthProbe: getenv("WEFT_HEALTH_PROBE"),
	}, nil
}

// binary is Envoy's, where one is run.
func (f *flags) binary() (string, error) {
	if f.proxyless {
		return "", nil
	}
	path, err := exec.LookPath(f.envoy)
	if err != nil {
		return "", fmt.Errorf("--envoy: %w", err)
	}
	return path, nil
}

// lifetime is how long certificates shall hold: the flag, else SECRET_TTL, by
// which a pod's proxyMetadata says it as in Istio; 0 leaves it to the CA.
func (f *flags) lifetime(getenv func(string) string) (time.Duration, error) {
	text := getenv("SECRET_TTL")
	if f.certTTL != 0 || text == "" {
		return f.certTTL, nil
	}
	ttl, err := time.ParseDuration(text)
	if err == nil && ttl <= 0 {
		err = fmt.Errorf("want more than 0")
	}
	if err != nil {
		return 0, fmt.Errorf("SECRET_TTL %q: %w; write a duration such as 24h", text, err)
	}
	return ttl, nil
}

// count reads a number above 0 from the environment; 0 where there is none.
func count(getenv func(string) string, name string) (int, error) {
	text := getenv(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s %q: want a number above 0", name, text)
	}
	return int(n), nil
}

// account reads NAMESPACE/SERVICE-ACCOUNT in the pod's own trust domain, or a
// whole SPIFFE URI.
func account(flag, text, trustDomain string) (spiffe.ID, error) {
	if strings.HasPrefix(text, "spiffe://") {
		id, err := spiffe.Parse(text)
		if err != nil {
			return spiffe.ID{}, fmt.Errorf("%s: %w", flag, err)
		}
		return id, nil
	}
	namespace, name, _ := strings.Cut(text, "/")
	id, err := spiffe.New(trustDomain, namespace, name)
	if err != nil {
		return spiffe.ID{}, fmt.Errorf("%s %q: %w", flag, text, err)
	}
	return id, nil
}

// readPod reads who this pod is from its environment.
func readPod(role node.Role, version string, getenv func(string) string) (node.Node, error) {
	pod := node.Node{
		Role: role, Version: version,
		Name: getenv("POD_NAME"), Namespace: getenv("POD_NAMESPACE"),
		ServiceAccount: getenv("SERVICE_ACCOUNT"), TrustDomain: getenv("TRUST_DOMAIN"),
		Workload:  getenv("ISTIO_META_WORKLOAD_NAME"),
		ClusterID: getenv("ISTIO_META_CLUSTER_ID"), MeshID: getenv("ISTIO_META_MESH_ID"),
	}
	if text := getenv("ISTIO_META_ENABLE_SELF_DISCOVERY"); text != "" {
		var err error
		if pod.SelfDiscovery, err = strconv.ParseBool(text); err != nil {
			return node.Node{}, fmt.Errorf("ISTIO_META_ENABLE_SELF_DISCOVERY: want true or false, got %q", text)
		}
	}
	for text := range strings.SplitSeq(getenv("INSTANCE_IP"), ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return node.Node{}, fmt.Errorf("INSTANCE_IP: %w", err)
		}
		pod.IPs = append(pod.IPs, ip)
	}
	if text := getenv("ISTIO_METAJSON_LABELS"); text != "" {
		if err := json.Unmarshal([]byte(text), &pod.Labels); err != nil {
			return node.Node{}, fmt.Errorf("ISTIO_METAJSON_LABELS: want a JSON object of strings: %w", err)
		}
	}
	return pod, nil
}
