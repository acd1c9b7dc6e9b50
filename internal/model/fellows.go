package model

// LocalCluster is the cluster in the bootstrap of a proxy with self-discovery
// whose endpoints are the proxy's fellows: it is never called, but tells Envoy
// how the clients of a zone compare to those of others. The name is Istio's.
const LocalCluster = "local_cluster"

// MetadataSelfDiscovery is the node metadata of such a proxy, "true".
// Source: Istio, ISTIO_META_ENABLE_SELF_DISCOVERY.
const MetadataSelfDiscovery = "ENABLE_SELF_DISCOVERY"

// FellowLabels tell the pods of one ReplicaSet from those of others, which are
// not balanced over the zones together. Source: Istio, ENABLE_SELF_DISCOVERY.
func FellowLabels() []string { return []string{"pod-template-hash", "rollouts-pod-template-hash"} }
