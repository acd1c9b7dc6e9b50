package command

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/internal/agent"
	"github.com/weftmesh/weft/internal/agent/bootstrap"
	"github.com/weftmesh/weft/internal/agent/node"
)

func environment(overrides ...string) func(string) string {
	values := map[string]string{
		"POD_NAME": "reviews-1", "POD_NAMESPACE": "shop", "INSTANCE_IP": "10.0.0.1, fd00::1", "SERVICE_ACCOUNT": "reviews",
		"ISTIO_METAJSON_LABELS": `{"app":"reviews"}`, "ISTIO_META_WORKLOAD_NAME": "reviews-v1",
	}
	for _, o := range overrides {
		name, value, _ := strings.Cut(o, "=")
		values[name] = value
	}
	return func(name string) string { return values[name] }
}

func parse(env func(string) string, args ...string) (agent.Options, error) {
	var f flags
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.register(set)
	if err := set.Parse(append([]string{"--envoy", "/bin/sh"}, args...)); err != nil {
		return agent.Options{}, err
	}
	pod, err := readPod(node.Sidecar, "v1", env)
	if err != nil {
		return agent.Options{}, err
	}
	return f.options(pod, env)
}

func TestOptions(t *testing.T) {
	o, err := parse(environment(), "--pilot", "a:1,b:2", "--pilot-identity", "sys/pilot", "--dns-listen", "127.0.0.1:53,[::1]:53", "--socket-mark", "1337")
	if err != nil {
		t.Fatal(err)
	}
	if o.Node.ID() != "sidecar~10.0.0.1~reviews-1.shop~shop.svc.cluster.local" || o.Node.Workload != "reviews-v1" || o.Node.Labels["app"] != "reviews" {
		t.Errorf("the node is %+v", o.Node)
	}
	if len(o.Pilot.Addresses) != 2 || o.Pilot.ID.String() != "spiffe://cluster.local/ns/sys/sa/pilot" {
		t.Errorf("the pilot is %+v", o.Pilot)
	}
	if len(o.DNS.Listen) != 2 || o.SocketMark != 1337 || o.Ports.Status != 15020 || o.CA.ID.Account() != "weft-system/weft-ca" {
		t.Errorf("the options are %+v", o)
	}
}

// TestLifetime: a pod may ask for another validity than the CA's, as in Istio.
func TestLifetime(t *testing.T) {
	for _, c := range []struct {
		env  string
		args []string
		want time.Duration
	}{
		{env: "X="},
		{env: "SECRET_TTL=45s", want: 45 * time.Second},
		{env: "SECRET_TTL=45s", args: []string{"--cert-ttl", "1h"}, want: time.Hour},
	} {
		if o, err := parse(environment(c.env), c.args...); err != nil || o.CA.TTL != c.want {
			t.Errorf("%s %v: %v, %v, want %v", c.env, c.args, o.CA.TTL, err, c.want)
		}
	}
}

func TestSamples(t *testing.T) {
	for env, want := range map[string][2]int{"X=": {}, "WEFT_MESH_SAMPLES=5000": {5000, 0}, "WEFT_APP_SAMPLES=7": {0, 7}} {
		if o, err := parse(environment(env)); err != nil || [2]int{o.MeshSamples, o.AppSamples} != want {
			t.Errorf("%s: %d, %d, %v", env, o.MeshSamples, o.AppSamples, err)
		}
	}
}

// TestProxyConfig: the agent reads what config.AgentProxy writes (the same text is
// in that test), and leaves the rest of a ProxyConfig to others.
func TestProxyConfig(t *testing.T) {
	const text = `{"runtimeValues":{"x":"1"},"proxyStatsMatcher":{"inclusionPrefixes":["a"],"inclusionSuffixes":["b"],"inclusionRegexps":["c.*"]},"fileFlushInterval":"0.100s","fileFlushMinSizeKb":8,"connectionSettings":{"listenerConnectionLimit":5,"globalDownstreamConnectionLimit":7},"another":1,` +
		`"statsdUdpAddress":"s:8125","tracingServiceName":"CANONICAL_NAME_ONLY","envoyAccessLogService":{"address":"[::1]:90"},"envoyMetricsService":{"address":"m:90",` +
		`"tlsSettings":{"mode":"ISTIO_MUTUAL","subjectAltNames":["n"],"sni":"s"},"tcpKeepalive":{"probes":3,"time":"9s"}}}`
	o, err := parse(environment("PROXY_CONFIG="+text), "--max-connections=9")
	if err != nil {
		t.Fatal(err)
	}
	want := agent.EnvoyOptions{
		Path: "/bin/sh", Concurrency: o.Envoy.Concurrency, LogLevel: o.Envoy.LogLevel, MaxConnections: 7,
		Stats:   bootstrap.Stats{Prefixes: []string{"a"}, Suffixes: []string{"b"}, Regexps: []string{"c.*"}},
		Runtime: map[string]string{"x": "1"}, FlushInterval: 100 * time.Millisecond, FlushKB: 8,
		InboundLimit: 5, Statsd: "s:8125", AccessLogs: &bootstrap.Remote{Host: "::1", Port: 90},
		Metrics: &bootstrap.Remote{Host: "m", Port: 90, TLS: &bootstrap.RemoteTLS{Mesh: true, SNI: "s", Names: []string{"n"}}, Keepalive: &bootstrap.Keepalive{Probes: 3, Time: 9 * time.Second}},
	}
	if !reflect.DeepEqual(o.Envoy, want) || o.Node.Naming != node.CanonicalOnly {
		t.Errorf("%s: %+v, %s", text, o.Envoy, o.Node.Naming)
	}
}

// TestMistakes are told with the flag or the variable that is at fault.
func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		env  []string
		args []string
		want string
	}{
		{args: []string{"--pilot-identity", "nobody"}, want: "--pilot-identity"},
		{args: []string{"--ca-identity", "spiffe://x/y"}, want: "--ca-identity"},
		{args: []string{"--envoy", "/nowhere/envoy"}, want: "--envoy"},
		{env: []string{"INSTANCE_IP=10.0.0"}, want: "INSTANCE_IP"},
		{env: []string{"ISTIO_METAJSON_LABELS=[1]"}, want: "ISTIO_METAJSON_LABELS"},
		{env: []string{"ISTIO_META_ENABLE_SELF_DISCOVERY=perhaps"}, want: "ISTIO_META_ENABLE_SELF_DISCOVERY"},
		{env: []string{"SECRET_TTL=soon"}, want: "SECRET_TTL"},
		{env: []string{"SECRET_TTL=-1h"}, want: "SECRET_TTL"},
		{env: []string{"WEFT_MESH_SAMPLES=0"}, want: "WEFT_MESH_SAMPLES"},
		{env: []string{"WEFT_APP_SAMPLES=-1"}, want: "WEFT_APP_SAMPLES"},
		{env: []string{"WEFT_MESH_SAMPLES=many"}, want: "WEFT_MESH_SAMPLES"},
		{env: []string{"PROXY_CONFIG=["}, want: "PROXY_CONFIG"},
		{env: []string{`PROXY_CONFIG={"fileFlushInterval":"0s"}`}, want: "fileFlushInterval"},
		{env: []string{`PROXY_CONFIG={"envoyMetricsService":{"address":"m"}}`}, want: "envoyMetricsService"},
	} {
		if _, err := parse(environment(c.env...), c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v %v: %v", c.env, c.args, err)
		}
	}
}

// TestRunRefuses what only a pod's environment can give.
func TestRunRefuses(t *testing.T) {
	for _, c := range []struct {
		env, want string
		args      []string
	}{
		{env: "POD_NAME=", want: "POD_NAME"},
		{env: "INSTANCE_IP=", want: "INSTANCE_IP"},
		{env: "X=", args: []string{"--pilot", ""}, want: "--pilot"},
		{env: "X=", args: []string{"--ca", ""}, want: "--ca"},
		{env: "X=", args: []string{"--run-dir", "/" + strings.Repeat("x", 110)}, want: "--run-dir"},
	} {
		o, err := parse(environment(c.env), c.args...)
		if err != nil {
			t.Fatal(err)
		}
		if err := agent.Run(agent.Orders{Drain: t.Context(), Quit: t.Context(), Hurry: t.Context()}, o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: %v", c.env, c.args, err)
		}
	}
}

func TestVersionAndHelp(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"version"}, "v1.2.3\n"},
		{[]string{"proxy", "router", "--help"}, "Run Envoy as the router"},
		{[]string{"proxy", "sidecar", "--help"}, "--socket-mark"},
	} {
		root := New("v1.2.3")
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs(c.args)
		if err := root.Execute(); err != nil || !strings.Contains(out.String(), c.want) {
			t.Errorf("%v: %v\n%s", c.args, err, &out)
		}
	}
}
