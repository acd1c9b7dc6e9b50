package view

import (
	"maps"
	"slices"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// fellows derives the endpoints of model.LocalCluster: those of the proxy's own
// service that are of its workload, its ReplicaSet and its region. Of several
// services the first by host that has some says where they are. A proxy that
// asks for them always gets an answer, for it waits for one when it starts.
//
// Source: Istio, ISTIO_META_ENABLE_SELF_DISCOVERY.
func fellows(in *inputs) *memo.Derived[*model.Settings, *model.Assignment] {
	own := ownServices(in)
	return memo.Flat(in.graph, &in.settings.Cell, func(r *memo.Reader, _ string, _ *model.Settings, emit memo.Emit[*model.Assignment]) {
		out := &model.Assignment{Cluster: model.LocalCluster}
		services := maps.Collect(memo.All(r, &own.Cell).All())
		for _, host := range slices.Sorted(maps.Keys(services)) {
			s := services[host]
			all, _ := memo.Get(r, &in.endpoints.Cell, s.Key())
			for _, p := range s.Ports {
				if len(out.Endpoints) == 0 {
					out.Endpoints = in.ofFellows(r, all.Of(p.Number))
				}
			}
		}
		emit(out.Cluster, out)
	}, memo.Same(sameAssignment))
}

func (in *inputs) ofFellows(r *memo.Reader, all []*model.Endpoint) (out []*model.Endpoint) {
	workload, _ := memo.Get(r, &in.proxy.Cell, workloadKey)
	alike := func(ep *model.Endpoint) bool {
		return ep.Workload == workload && ep.Locality.Region == in.label(r, model.LabelRegion) &&
			!slices.ContainsFunc(model.FellowLabels(), func(key string) bool { return ep.Labels[key] != in.label(r, key) })
	}
	for _, ep := range all {
		if alike(ep) {
			out = append(out, ep)
		}
	}
	return out
}

// discovers sets what a class has of a proxy that discovers its fellows: its
// server side is told of them, its client side asks Envoy to heed them.
func (c *Classifier) discovers(class *model.ProxyClass, proxy model.Proxy, labels, place map[string]string) {
	if proxy.Proxyless || proxy.Metadata[model.MetadataSelfDiscovery] != "true" {
		return
	}
	class.SelfDiscovery = true
	if class.Role == model.RoleOutbound {
		return
	}
	class.Workload = proxy.Metadata["WORKLOAD_NAME"]
	if c.mesh != nil {
		if w, ok := c.mesh.Workloads.Get(proxy.Namespace + "/" + proxy.Name); ok {
			class.Workload = w.Controller
		}
	}
	own := model.ParseLabels(class.Labels)
	for _, key := range model.FellowLabels() {
		if v := labels[key]; v != "" {
			own[key] = v
		}
	}
	if region := place[model.LabelRegion]; region != "" {
		own[model.LabelRegion] = region
	}
	class.Labels = model.FormatLabels(own)
}
