package main

import (
	"fmt"
	"os"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot"
	"github.com/weftmesh/weft/test/envoy"
)

// policy is one way to balance, under which the same hosts are asked: each has
// a Service of its own.
type policy struct {
	name, service string
	setting       string // of weft.mesh/load-balancer
	rule          string // the DestinationRule's trafficPolicy
}

var policies = []policy{
	{name: "ROUND_ROBIN", service: "turns", setting: "ROUND_ROBIN"},
	{name: "LEAST_REQUEST", service: "fewest", setting: "LEAST_REQUEST"},
	{name: "RANDOM", service: "chance", setting: "RANDOM"},
	{name: "LATENCY_AWARE", service: "latency", setting: "LATENCY_AWARE"},
	{name: "LATENCY_AWARE, no outlier detection", service: "reports", setting: "LATENCY_AWARE", rule: "{outlierDetection: {consecutive5xxErrors: 0}}"},
}

// Ports of the services and of the hosts' pods: HTTP/1.1, and gRPC.
const (
	httpPort, grpcPort     = 80, 81
	httpTarget, grpcTarget = 8080, 8081
	podNetwork             = "10.1.0."
)

// hostsNetwork is where the hosts are: each process has its own.
var hostsNetwork = fmt.Sprintf("127.77.%d.", os.Getpid()%250)

// retries is a VirtualService for a policy's service: what a user sets against
// hosts that stall.
const retries = `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %[1]s, namespace: default}
spec:
  hosts: [%[1]s]
  http: [{timeout: 1s, retries: {attempts: 2, perTryTimeout: %[2]s, retryOn: "5xx,reset,connect-failure,refused-stream"}, route: [{destination: {host: %[1]s}}]}]
`

// objects are the users' objects of a mesh with n hosts.
func objects(n int, perTry string) string {
	var out strings.Builder
	for i, p := range policies {
		fmt.Fprintf(&out, `---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: default, annotations: {weft.mesh/load-balancer: %[2]s}}
spec: {clusterIP: 10.96.0.%[3]d, selector: {app: app}, ports: [{name: http, port: 80, targetPort: 8080}, {name: grpc, port: 81, targetPort: 8081}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s, namespace: default, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: grpc, port: 8081}]
endpoints:
`, p.service, p.setting, i+10)
		for host := range n {
			fmt.Fprintf(&out, "- {addresses: [%s%d], conditions: {ready: true, serving: true, terminating: false}, targetRef: {kind: Pod, name: app-%d, namespace: default}}\n", podNetwork, host+1, host)
		}
		if p.rule != "" {
			fmt.Fprintf(&out, "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: %[1]s, namespace: default}\nspec: {host: %[1]s, trafficPolicy: %[2]s}\n", p.service, p.rule)
		}
		if perTry != "" {
			fmt.Fprintf(&out, retries, p.service, perTry)
		} else {
			fmt.Fprintf(&out, strings.Replace(retries, `{timeout: 1s, retries: {attempts: 2, perTryTimeout: %[2]s, retryOn: "5xx,reset,connect-failure,refused-stream"},`, "{retries: {attempts: 0},", 1), p.service)
		}
	}
	for host := range n {
		fmt.Fprintf(&out, `---
apiVersion: v1
kind: Pod
metadata: {name: app-%[1]d, namespace: default, labels: {app: app, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: app}
status: {phase: Running, podIP: %[2]s%[3]d, podIPs: [{ip: %[2]s%[3]d}]}
`, host, podNetwork, host+1)
	}
	return out.String()
}

// translated is what the pilot gives a proxy.
func translated(yaml string, p model.Proxy) ([]*discovery.Resource, error) {
	all, found := config.Decode("balance.yaml", []byte(yaml))
	if len(found) > 0 {
		return nil, fmt.Errorf("%v", found)
	}
	set := config.Set{}
	for _, o := range all {
		set = set.With(o)
	}
	var out []*discovery.Resource
	for _, r := range pilot.Translate(set, p) {
		out = append(out, &discovery.Resource{Name: r.Name, Version: r.Version, Resource: &anypb.Any{TypeUrl: r.Type, Value: r.Body}})
	}
	return out, nil
}

// clientSide is the configuration of the client's proxy: its two listeners are
// bound at address, in place of capture, and endpoints are at hostsNetwork.
func clientSide(all []*discovery.Resource, address string) ([]*discovery.Resource, error) {
	return envoy.Place(all, func(m proto.Message) proto.Message {
		switch m := m.(type) {
		case *listener.Listener:
			port := map[string]uint32{"0.0.0.0_80": httpPort + 15000, "0.0.0.0_81": grpcPort + 15000}[m.GetName()]
			if port == 0 {
				return nil
			}
			envoy.Bind(m, address, port)
		case *endpoint.ClusterLoadAssignment:
			for _, l := range m.GetEndpoints() {
				for _, e := range l.GetLbEndpoints() {
					at := e.GetEndpoint().GetAddress().GetSocketAddress()
					at.Address = strings.Replace(at.GetAddress(), podNetwork, hostsNetwork, 1)
				}
			}
		}
		return m
	})
}

// serverSide is that of a host's proxy: virtualInbound is bound at the pod's
// ports, where capture would bring connections to it, and the app is at
// appPort.
func serverSide(all []*discovery.Resource, address string) ([]*discovery.Resource, error) {
	out, err := envoy.Place(all, func(m proto.Message) proto.Message {
		switch m := m.(type) {
		case *listener.Listener:
			if m.GetName() == "virtualInbound" {
				envoy.Bind(m, address, httpTarget)
				m.AdditionalAddresses = []*listener.AdditionalAddress{{Address: envoy.Socket(address, grpcTarget)}}
				return m
			}
			return nil
		case *cluster.Cluster:
			switch {
			case m.GetName() == fmt.Sprintf("inbound|%d||", httpTarget) || m.GetName() == fmt.Sprintf("inbound|%d||", grpcTarget):
				envoy.AtApp(m, address, appPort)
				return m
			case strings.HasPrefix(m.GetName(), "outbound|"):
				return nil
			}
			return m
		}
		return nil
	})
	return out, err
}
