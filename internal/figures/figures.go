// Package figures makes golden figures of what proxies count: requests,
// success, rates, quantiles of latency, bytes, mutual TLS, and who calls whom.
//
// In: pages of metrics under Istio's names, as agents serve them, and the pods
// that they are of. Out: rows by workload, pod, service or route, and edges. It is
// pure: no clock, no I/O; of Weft it may import nothing, of others only
// Prometheus' parser. Source: Istio's "Standard Metrics" page.
package figures

import "time"

// Reporters: which side of a call counted it.
const (
	FromSource      = "source"
	FromDestination = "destination"
)

// Unknown is the value of a label about which nothing is known.
const Unknown = "unknown"

// Pod is one of the mesh's pods, as far as its figures go.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Workload  string `json:"workload"` // of its namespace; "": a pod of its own
	Proxy     bool   `json:"-"`        // it has one, and so counts
	Gateway   bool   `json:"-"`        // a proxy without an app: what it asks of others is what it was asked
	Ejected   int    `json:"-"`        // proxies that leave it out now
}

// End is one end of a call.
type End struct {
	Workload, Namespace, Version string
	Principal                    string // SPIFFE URI; unknown where none was proven
}

// Flow is who called whom, what for, how it ended and who says so. All of its
// values are labels, and may be anything.
type Flow struct {
	Reporter                  string
	Source, Destination       End
	Service, ServiceNamespace string // Service is the short name, or a host
	Protocol                  string // http, grpc; "" for bytes
	Code, GRPCStatus, Flags   string
	Security                  string // mutual_tls, none, or unknown: the source does not say
}

// Counts are what was counted of a flow. All only grow, until a proxy starts
// again.
type Counts struct {
	Requests       float64
	Duration       Histogram // milliseconds
	Received, Sent float64   // bytes to the destination, and from it
	Opened, Closed float64   // TCP connections
}

// Sample is all that one proxy had counted at one time.
type Sample struct {
	Pod   Pod
	At    time.Time
	Flows map[Flow]Counts
	// Partial: the page broke off, so that what is not there may yet be counted.
	Partial bool
	// Ejecting are the hosts that this proxy leaves out, each as often as
	// there are clusters that it is in.
	Ejecting int
	// Out are those of these hosts of which the agent says why and since when.
	Out []Ejection
	// Overflows are the limits of circuit breakers that this proxy has met.
	Overflows []Overflow
}

// Ejection is a host that one proxy leaves out. All but Since are labels, and may be
// anything.
type Ejection struct {
	Service, Port, Subset, Address string
	Reason                         string // the event's type in lower case; unknown where there was none
	Since                          time.Time
}

// Delta is what one proxy counted in a time.
type Delta struct {
	Pod     Pod
	Seconds float64 // 0: since the proxy's start, whenever that was
	Flows   map[Flow]Counts
}

// All is what a proxy counted since its start.
func All(s Sample) Delta { return Delta{Pod: s.Pod, Flows: s.Flows} }

// Between is what a proxy counted from one sample to a later one of the same pod.
// A proxy that counts less than before has started again, and what it counts is
// new: as Prometheus' increase() has it. Where no time passed nothing is said,
// nor of a sample in part.
func Between(from, to Sample) (Delta, bool) {
	d := Delta{Pod: to.Pod, Seconds: to.At.Sub(from.At).Seconds(), Flows: make(map[Flow]Counts, len(to.Flows))}
	if d.Seconds <= 0 || from.Partial || to.Partial {
		return Delta{}, false
	}
	for flow, now := range to.Flows {
		d.Flows[flow] = now.since(from.Flows[flow])
	}
	return d, true
}

func (c Counts) since(before Counts) Counts {
	return Counts{
		Requests: increase(before.Requests, c.Requests), Duration: c.Duration.since(before.Duration),
		Received: increase(before.Received, c.Received), Sent: increase(before.Sent, c.Sent),
		Opened: increase(before.Opened, c.Opened), Closed: increase(before.Closed, c.Closed),
	}
}

func increase(before, now float64) float64 {
	if now < before {
		return now
	}
	return now - before
}
