package xds

import (
	"cmp"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/weftmesh/weft/internal/model"
)

// healthType is a request in which an agent outside of the cluster says how the
// process beside it is. It is not answered. Source: Istio's
// health.HealthInformation.
const healthType = "type.googleapis.com/istio.v1.HealthInformation"

// Health is what was said of the process of a WorkloadEntry.
type Health struct {
	Namespace, Name string // the entry's
	Trouble         string // "": it is well
}

// heard passes on what a process says of itself. Of others none may speak: who
// it is, its certificate and the directory say; pods have a kubelet.
func (s *Server) heard(p model.Proxy, req *discovery.DeltaDiscoveryRequest) {
	if s.opts.Health == nil || !p.Proven {
		return
	}
	s.mu.Lock()
	w := s.dir.Workload(p.Namespace, p.Name)
	s.mu.Unlock()
	if w == nil || !w.Joined || w.ServiceAccount != p.ServiceAccount {
		return
	}
	h := Health{Namespace: p.Namespace, Name: p.Name}
	if d := req.ErrorDetail; d != nil {
		h.Trouble = cmp.Or(clip(d.Message), "it is not well")
	}
	s.opts.Health(h)
}
