package compile

import (
	"cmp"
	"maps"
	"net/netip"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// joined derives the workloads of processes that joined: WorkloadEntries that
// were made of a group have a proxy, which may speak for what the entry says, as
// a pod's may for the pod. A pod of the same name goes before.
func (c *Compiler) joined() *memo.Union[*model.Workload] {
	entries := memo.Map(&c.graph, c.input(config.WorkloadEntry), func(_ *memo.Reader, _ string, o *config.Object) (*model.Workload, bool) {
		we, ok := o.Spec.(*networking.WorkloadEntry)
		group := o.Annotations[config.GroupOf]
		addr, err := netip.ParseAddr(we.GetAddress())
		if !ok || group == "" || err != nil {
			return nil, false
		}
		labels := maps.Clone(we.GetLabels())
		if labels == nil {
			labels = map[string]string{}
		}
		maps.Copy(labels, o.Labels)
		return &model.Workload{
			Namespace: o.Namespace, Name: o.Name, Labels: labels, ServiceAccount: cmp.Or(we.GetServiceAccount(), "default"),
			Addresses: []string{addr.Unmap().String()}, Locality: locality(we.GetLocality()), Ports: we.GetPorts(), Controller: group,
			App: firstLabel(labels, appLabels, group), Version: firstLabel(labels, versionLabels, "latest"), InMesh: true, Joined: true,
		}, true
	}, memo.Same(equal[*model.Workload]))
	return memo.NewUnion(&c.graph, &c.pods.values.Cell, &entries.Cell)
}
