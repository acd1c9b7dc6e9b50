// Package injector puts the proxy into pods: Inject is the pure function that
// the webhook, `weft inject` and tests share; Run is the webhook.
//
// Inputs: a pod as its user wrote it, and Values, read from the ConfigMaps
// istio-sidecar-injector and istio. Outputs: the pod with agent, Envoy and
// traffic capture, or an error that names the annotation at fault and its cure.
// Inject reads no clock, no environment and no API, and writes to no argument.
//
// It may import neither pilot nor ca; client-go is for Run alone.
package injector
