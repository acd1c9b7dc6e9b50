package patch

import (
	"fmt"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/model"
)

// clusterEditor edits a cluster.
type clusterEditor struct {
	t    Target
	c    *cluster.Cluster
	gone bool
}

func (e *clusterEditor) removed() bool { return e.gone }

func (e *clusterEditor) edit(p *patch) (bool, error) {
	if p.Op == model.OpRemove {
		e.gone = true
		return true, nil
	}
	name, body := e.c.GetName(), proto.Clone(p.body).(*cluster.Cluster)
	if err := e.mergeSocket(body, p.lists()); err != nil {
		return false, err
	}
	err := merge(e.c, body, p.lists())
	e.c.Name = name // what leads to it knows it by its name
	return true, err
}

// mergeSocket takes the transport socket out of a body and merges it: into the
// one of that name among those that the cluster chooses from, or its only one,
// of which it takes the place if it has another name.
func (e *clusterEditor) mergeSocket(body *cluster.Cluster, lists bool) error {
	socket := body.GetTransportSocket()
	if socket == nil {
		return nil
	}
	body.TransportSocket = nil
	if all := e.c.GetTransportSocketMatches(); len(all) > 0 {
		for _, m := range all {
			if m.GetTransportSocket().GetName() == socket.GetName() {
				return mergeSocket(m.GetTransportSocket(), socket, lists)
			}
		}
		return fmt.Errorf("the cluster chooses a transport socket by endpoint, and none is named %q", socket.GetName())
	}
	if e.c.GetTransportSocket().GetName() != socket.GetName() {
		e.c.TransportSocket = socket
		return nil
	}
	return mergeSocket(e.c.GetTransportSocket(), socket, lists)
}

func mergeSocket(dst, src *core.TransportSocket, lists bool) error {
	_, err := mergeTyped(dst, src, lists, false)
	return err
}

func (e *clusterEditor) close() (proto.Message, error) { return e.c, e.c.Validate() }
