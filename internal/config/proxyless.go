package config

import "strings"

// TemplatesAnnotation names the injection templates of a pod.
// Source: Istio, inject.istio.io/templates.
const TemplatesAnnotation = "inject.istio.io/templates"

// GRPCAgent is the template of a pod whose processes speak xDS themselves: an
// agent without Envoy.
const GRPCAgent = "grpc-agent"

// Proxyless reports whether a pod's annotations ask for GRPCAgent.
func Proxyless(annotations map[string]string) bool {
	for name := range strings.SplitSeq(annotations[TemplatesAnnotation], ",") {
		if strings.TrimSpace(name) == GRPCAgent {
			return true
		}
	}
	return false
}
