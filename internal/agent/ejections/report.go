package ejections

import (
	"context"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
)

// TypeURL is that of a request that names hosts which Envoy has begun to leave
// out, or has taken back, each "REASON ADDRESS CLUSTER". The answer has a resource for each that is
// a pod: its name is the address, its value NAMESPACE/POD.
const TypeURL = "type.googleapis.com/weft.v1.Ejections"

// takenBack is the reason of a host that is no longer left out.
const takenBack = "taken_back"

// Bounds of a report.
const (
	maxReported = 20 // hosts at once
	reportTime  = 10 * time.Second
)

// Pilot is who is told. The zero value tells nobody.
type Pilot struct {
	Conn grpc.ClientConnInterface // its calls wait for the pilot
	Node *corev3.Node
}

// reports tells the pilot what it has not heard of, until ctx ends.
func (w *Watcher) reports(ctx context.Context) {
	if w.o.Pilot.Conn == nil {
		return
	}
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	var failed time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if now.Sub(failed) < askEvery {
				continue
			}
			if err := w.report(ctx); err != nil {
				w.o.Logger.Debug("the pilot is not told who is ejected", "error", err)
				failed = time.Now()
			}
		}
	}
}

// report tells the pilot of some hosts, and notes which pods they are.
func (w *Watcher) report(ctx context.Context) error {
	names, back, said := w.unsaid()
	if len(names) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reportTime)
	defer cancel()
	pods, err := w.o.Pilot.tell(ctx, names)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.back = append([]host(nil), w.back[back:]...) // nobody else takes from it
	for h, e := range said {
		w.told(h, e, pods[h.address])
	}
	return nil
}

// told notes that the pilot has heard of an ejection, unless the host is out anew, for
// another reason perhaps. w.mu is held.
func (w *Watcher) told(h host, e ejection, pod string) {
	heard := e
	heard.told, heard.pod = true, pod
	switch gone := w.gone[h]; {
	case w.out[h] == e:
		w.out[h] = heard
	case gone.ejection != e:
	case gone.logged:
		delete(w.gone, h)
		w.tellBack(h)
	default:
		gone.ejection = heard
		w.gone[h] = gone
	}
}

// unsaid are hosts to report: those that are back first, and how many these are, then
// those that are out, and what is said of them.
func (w *Watcher) unsaid() (names []string, back int, said map[host]ejection) {
	said = map[host]ejection{}
	w.mu.Lock()
	defer w.mu.Unlock()
	back = min(len(w.back), maxReported)
	for _, h := range w.back[:back] {
		names = append(names, takenBack+" "+h.address+" "+h.cluster)
	}
	all, known := w.sorted()
	for _, h := range all {
		if e := known[h]; !e.told && len(names) < maxReported && !strings.Contains(h.address, " ") {
			names = append(names, e.reason+" "+h.address+" "+h.cluster)
			said[h] = e
		}
	}
	return names, back, said
}

// tell gives the pods by address.
func (p Pilot) tell(ctx context.Context, names []string) (map[string]string, error) {
	ctx, cancel := context.WithCancel(ctx) // which ends the stream
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(p.Conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: p.Node, TypeUrl: TypeURL, ResourceNamesSubscribe: names}); err != nil {
		return nil, err
	}
	answer, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, r := range answer.GetResources() {
		if pod := string(r.GetResource().GetValue()); len(pod) <= maxName {
			out[r.GetName()] = strings.ToValidUTF8(pod, "")
		}
	}
	return out, nil
}
