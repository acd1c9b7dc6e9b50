package controller

import (
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/agent/grpcbootstrap"
	"github.com/weftmesh/weft/internal/local/pod"
)

// grpcDir is where the agent of a proxyless pod keeps what the apps read.
const grpcDir = "grpc"

// addGRPCAgent adds an agent without Envoy. It has the apps' user, for they read
// what it writes, and no capture: the apps open mTLS themselves.
func addGRPCAgent(spec *pod.Spec, p *corev1.Pod, token []byte, s surroundings) {
	spec.Private = grpcDir
	spec.Programs = []pod.Program{{Name: "agent", Path: s.options.Agent}}
	spec.Files = []pod.File{{Path: "token", Data: token, AppOnly: true}}
	spec.Shared = []string{publicDir}
	spec.Processes = append(spec.Processes, pod.Process{
		Name: proxyProcess, Env: proxyEnv(p), LogBytes: 512 << 10,
		Argv: []string{
			s.runDir + "/bin/agent", "proxy", "grpc",
			"--run-dir=" + s.runDir + "/" + grpcDir,
			fmt.Sprintf("--pilot=%s", netip.AddrPortFrom(s.pilot, 15012)),
			fmt.Sprintf("--ca=%s", netip.AddrPortFrom(s.ca, 15012)),
			"--root-cert=" + s.roots,
			"--token=" + s.runDir + "/token",
		},
		Restart: pod.Restart{Max: 5 * time.Second}, Stop: pod.Stop{Order: 1},
	})
}

// grpcEnv is what the apps of a proxyless pod find, unless they say otherwise.
func grpcEnv(s surroundings) []variable {
	return []variable{
		{grpcbootstrap.PathVariable, s.runDir + "/" + grpcDir + "/grpc-bootstrap.json"},
		{grpcbootstrap.SNIVariable, "true"},
	}
}

// readyURL is where the proxy of a pod says whether it is ready.
func readyURL(p *corev1.Pod) string {
	if isProxyless(p) {
		return "http://127.0.0.1:15020/healthz/ready"
	}
	return "http://127.0.0.1:15021/healthz/ready"
}
