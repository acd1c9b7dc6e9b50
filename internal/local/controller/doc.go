// Package controller makes a local mesh out of a folder of YAML: what the
// controllers, the scheduler and the kubelet do in a cluster.
//
// In: the folder's objects (Deployment, Service, Gateway, ...) and the running
// pods of package local. Out: pods; the state folder from which the pilot
// reads what a cluster would tell it (Pods, EndpointSlices, Services with
// their addresses); published ports; and the HTTP API behind the commands of
// the CLI. Deciding (plan.go, slices.go, podspec.go) is pure; doing is in
// controller.go, runner.go and prober.go. It imports config and Kubernetes types;
// no component.
package controller

import (
	"encoding/json"
	"fmt"
	"time"
)

// Names of the mesh's own parts.
const (
	SystemNamespace = "weft-system"
	GatewayName     = "istio-ingressgateway"
	pilotName       = "weft-pilot"
	caName          = "weft-ca"
)

// Options are what `weft up` decides before anything runs. They reach the
// mesh's process as JSON.
type Options struct {
	Dir  string // absolute: the folder of YAML, and the working directory of apps
	Name string // of the mesh
	// Binaries, absolute paths.
	Agent, Pilot, CA, Envoy string
	// Publish maps a gateway's port to an address on the host, "127.0.0.1:8080".
	Publish map[uint32]string
	// Env is what apps inherit: PATH, HOME and the like.
	Env []string
	// Verbose makes the control plane's logs detailed.
	Verbose bool
	// CertificateTTL of workloads; 0: the CA's default.
	CertificateTTL time.Duration
	// KeyRefresh is how often keys of tokens are fetched; 0: the pilot's default.
	KeyRefresh time.Duration
}

// Encode gives the form in which local.Options.Config carries the options.
func (o Options) Encode() ([]byte, error) { return json.Marshal(o) }

func decodeOptions(text []byte) (o Options, err error) {
	if err := json.Unmarshal(text, &o); err != nil {
		return o, fmt.Errorf("options of the local mesh: %w", err)
	}
	return o, nil
}

// HostAddress is where a gateway's port is published unless told otherwise:
// 80 at 8080, 443 at 8443, ports from 1024 as they are, other low ports at
// 10000 more.
func HostAddress(port uint32, publish map[uint32]string) string {
	if a, ok := publish[port]; ok {
		return a
	}
	switch {
	case port == 80:
		port = 8080
	case port == 443:
		port = 8443
	case port < 1024:
		port += 10_000
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}
