package xds

import (
	"net"
	"slices"
	"strconv"
	"strings"

	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// ejectionType is a request in which an agent names hosts that its Envoy has begun
// to leave out, each "REASON ADDRESS CLUSTER". The answer says which pods they are.
const ejectionType = "type.googleapis.com/weft.v1.Ejections"

// Bounds of what one stream may say; an agent says it on a stream of its own.
const (
	maxEjections = 20 // of one request
	maxReports   = 5
)

// reasons are those of Envoy's events. Source: envoy.data.cluster.v3.OutlierEjectionType.
var reasons = []string{
	"consecutive_5xx", "consecutive_gateway_failure", "consecutive_local_origin_failure",
	"success_rate", "success_rate_local_origin", "failure_percentage", "failure_percentage_local_origin",
}

// Ejection is that a proxy has begun to leave out a pod.
type Ejection struct {
	Namespace, Pod string
	By             string // NAMESPACE/POD of the proxy
	Host, Port     string // for which
	Reason         string // the type of Envoy's event in lower case
}

// ejected passes on which pods a proxy leaves out, and answers with their names. It
// may speak only of endpoints that it was sent.
func (s *stream) ejected(req *discovery.DeltaDiscoveryRequest) {
	s.mu.Lock()
	s.reports++
	heard, classes := s.reports <= maxReports, s.classes
	s.mu.Unlock()
	if !heard {
		return
	}
	answer := &response{typeURL: ejectionType, nonce: "1"}
	for _, name := range req.ResourceNamesSubscribe[:min(len(req.ResourceNamesSubscribe), maxEjections)] {
		reason, rest, _ := strings.Cut(name, " ")
		address, cluster, _ := strings.Cut(rest, " ")
		parts := strings.SplitN(cluster, "|", 4)
		if len(parts) != 4 || !serves(classes, cluster, address) {
			continue
		}
		w := s.srv.podAt(address)
		if w == nil {
			continue
		}
		answer.resources = append(answer.resources, snapshot.New(ejectionType, address, []byte(w.Namespace+"/"+w.Name)))
		if s.srv.opts.Ejected != nil && s.claim.Proven && slices.Contains(reasons, reason) {
			s.srv.opts.Ejected(Ejection{Namespace: w.Namespace, Pod: w.Name, By: s.claim.Namespace + "/" + s.claim.Name, Host: parts[3], Port: parts[1], Reason: reason})
		}
	}
	s.mu.Lock()
	s.answers = append(s.answers, answer)
	s.mu.Unlock()
	s.poke()
}

// serves reports whether a cluster of these classes has an endpoint.
func serves(classes []*class, cluster, address string) bool {
	for _, c := range classes {
		res, ok := c.of(snapshot.Endpoint).Get(cluster)
		if !ok {
			continue
		}
		var all endpoint.ClusterLoadAssignment
		if proto.Unmarshal(res.Body, &all) != nil {
			continue
		}
		for _, group := range all.Endpoints {
			for _, ep := range group.LbEndpoints {
				if at := ep.GetEndpoint().GetAddress().GetSocketAddress(); at != nil && address == net.JoinHostPort(at.Address, strconv.FormatUint(uint64(at.GetPortValue()), 10)) {
					return true
				}
			}
		}
	}
	return false
}

// podAt is the pod at IP:PORT; nil where none or several have the address, as
// those on their node's network.
func (s *Server) podAt(address string) *model.Workload {
	ip, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	dir := s.dir
	s.mu.Unlock()
	found := dir.At(ip)
	if len(found) != 1 || found[0].Joined {
		return nil
	}
	return found[0]
}
