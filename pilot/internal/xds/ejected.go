package xds

import (
	"net"
	"slices"
	"strconv"
	"strings"

	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/clustername"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// ejectionType is a request in which an agent names hosts that its Envoy has begun
// to leave out, or has taken back, each "REASON ADDRESS CLUSTER". The answer says which pods they are.
const ejectionType = "type.googleapis.com/weft.v1.Ejections"

// Bounds of what one stream may say; an agent says it on a stream of its own.
const (
	maxEjections = 20 // of one request
	maxReports   = 5
)

// reasons are those of Envoy's events, and ours. Source: envoy.data.cluster.v3.OutlierEjectionType.
var reasons = []string{
	"consecutive_5xx", "consecutive_gateway_failure", "consecutive_local_origin_failure",
	"success_rate", "success_rate_local_origin", "failure_percentage", "failure_percentage_local_origin", TakenBack,
}

// TakenBack is the reason of one that is no longer left out.
const TakenBack = "taken_back"

// Ejection is that a proxy has begun to leave out a pod, or has taken it back.
type Ejection struct {
	Namespace, Pod string
	By             string // NAMESPACE/POD of the proxy
	Host, Port     string // for which
	Reason         string // the type of Envoy's event in lower case, or TakenBack
}

// ejected passes on which pods a proxy leaves out, and answers with their names. It
// may speak only of endpoints that it was sent; who proved nothing is told nothing.
func (s *stream) ejected(req *discovery.DeltaDiscoveryRequest) {
	s.mu.Lock()
	s.reports++
	heard, classes := s.reports <= maxReports, s.classes
	s.mu.Unlock()
	if !heard {
		return
	}
	answer := &response{typeURL: ejectionType, nonce: "1"}
	if s.claim.Proven {
		said := sent(classes, leftOut(req.ResourceNamesSubscribe[:min(len(req.ResourceNamesSubscribe), maxEjections)]))
		answer.resources = s.passOn(said, s.srv.podsAt(said))
	}
	s.mu.Lock()
	s.answers = append(s.answers, answer)
	s.mu.Unlock()
	s.poke()
}

// passOn gives what is answered.
func (s *stream) passOn(said []left, pods map[string]*model.Workload) (out []*snapshot.Resource) {
	for _, l := range said {
		w := pods[l.ip]
		if w == nil {
			continue
		}
		out = append(out, snapshot.New(ejectionType, l.address, []byte(w.Namespace+"/"+w.Name)))
		if s.srv.opts.Ejected != nil && slices.Contains(reasons, l.reason) {
			s.srv.opts.Ejected(Ejection{Namespace: w.Namespace, Pod: w.Name, By: s.claim.Namespace + "/" + s.claim.Name, Host: l.host, Port: l.port, Reason: l.reason})
		}
	}
	return out
}

// left is what a proxy says of one host.
type left struct{ reason, address, ip, cluster, host, port string }

// leftOut reads names; those of another form are left away.
func leftOut(names []string) (out []left) {
	for _, name := range names {
		reason, rest, _ := strings.Cut(name, " ")
		address, cluster, _ := strings.Cut(rest, " ")
		of, ok := clustername.ParseOutbound(cluster)
		ip, _, err := net.SplitHostPort(address)
		if ok && err == nil {
			out = append(out, left{reason: reason, address: address, ip: ip, cluster: cluster, host: of.Host, port: of.Port})
		}
	}
	return out
}

// sent leaves of hosts those that clusters of these classes have. A cluster may have
// thousands: each is read once.
func sent(classes []*class, said []left) []left {
	known := map[string]map[string]bool{}
	for _, l := range said {
		if known[l.cluster] == nil {
			known[l.cluster] = endpointsOf(classes, l.cluster)
		}
	}
	return slices.DeleteFunc(said, func(l left) bool { return !known[l.cluster][l.address] })
}

// endpointsOf are the endpoints of a cluster of these classes, each IP:PORT.
func endpointsOf(classes []*class, cluster string) map[string]bool {
	out := map[string]bool{}
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
				if at := ep.GetEndpoint().GetAddress().GetSocketAddress(); at != nil {
					out[net.JoinHostPort(at.Address, strconv.FormatUint(uint64(at.GetPortValue()), 10))] = true
				}
			}
		}
	}
	return out
}

// podsAt are the pods by IP; not those of which several have one, as on their
// node's network.
func (s *Server) podsAt(said []left) map[string]*model.Workload {
	ips := make([]string, len(said))
	for i, l := range said {
		ips[i] = l.ip
	}
	s.mu.Lock()
	dir := s.dir
	s.mu.Unlock()
	out := map[string]*model.Workload{}
	if len(ips) == 0 {
		return out
	}
	for ip, found := range dir.At(ips) {
		if len(found) == 1 && !found[0].Joined {
			out[ip] = found[0]
		}
	}
	return out
}
