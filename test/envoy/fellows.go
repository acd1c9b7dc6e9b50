package envoy

import (
	"slices"
	"strings"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// fellowCluster is the agent's local cluster, of proxies with self-discovery.
const fellowCluster = "local_cluster"

// fellows says in a bootstrap where the proxy is and, if its resources tell it
// of its fellows, that it shall ask for them, as the agent's does.
func (p *Proxy) fellows(config object) {
	if p.place != "" {
		part := append(strings.Split(p.place, "/"), "", "")
		config["node"].(object)["locality"] = object{"region": part[0], "zone": part[1], "sub_zone": part[2]}
	}
	if !slices.ContainsFunc(p.plan.resources, func(r *discovery.Resource) bool { return r.GetName() == fellowCluster }) {
		return
	}
	static := config["static_resources"].(object)
	static["clusters"] = append(static["clusters"].([]object), object{
		"name": fellowCluster, "type": "EDS", "connect_timeout": "5s",
		"eds_cluster_config": object{"service_name": fellowCluster, "eds_config": object{"ads": object{}, "resource_api_version": "V3"}},
	})
	config["cluster_manager"] = object{"local_cluster_name": fellowCluster}
}
