package figures

import (
	"cmp"
	"math"
	"slices"
)

// Kind is what a row is about.
type Kind string

// Kinds of rows. Those of workloads and pods count what they were asked, by the
// server's own word where it has a proxy; those of services and routes what
// callers asked for, arrived or not, with the server's word for callers whose
// side no proxy counts.
const (
	Workloads Kind = "workloads"
	Pods      Kind = "pods"
	Services  Kind = "services"
	Routes    Kind = "routes" // where the calls of a service went: workload and version
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{Workloads, Pods, Services, Routes} }

// Who counted a row.
const (
	ByServer  = "server"
	ByClients = "clients"
	ByGateway = "gateway" // what it asked of others
)

// Row is a line of a table. What is not known is nil.
type Row struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Of a route: which workload and version calls went to; "unknown" where
	// they did not get that far.
	To      string   `json:"to,omitempty"`
	Version string   `json:"version,omitempty"`
	Share   *float64 `json:"share,omitempty"` // of the service's requests and connections, 0..1
	By      string   `json:"by,omitempty"`    // server, clients or gateway
	// Ejected are its pods that some proxy leaves out now; not of services and
	// routes.
	Ejected *int `json:"ejected,omitempty"`
	Figures
}

// Figures are golden figures of a time. Rates are per second, and not there
// where the time is since the proxies' start.
type Figures struct {
	Requests       float64  `json:"requests"`
	Failed         float64  `json:"failed"`
	Connections    float64  `json:"connections"` // of TCP, opened
	SuccessRate    *float64 `json:"successRate"` // 0..1; of no requests null
	RequestRate    *float64 `json:"requestsPerSecond,omitempty"`
	Latency        *Latency `json:"latencyMilliseconds,omitempty"`
	Received       float64  `json:"receivedBytes"` // by the server
	Sent           float64  `json:"sentBytes"`
	ReceivedRate   *float64 `json:"receivedBytesPerSecond,omitempty"`
	SentRate       *float64 `json:"sentBytesPerSecond,omitempty"`
	ConnectionRate *float64 `json:"connectionsPerSecond,omitempty"`
	MutualTLS      *float64 `json:"mutualTLS"` // share of requests and connections, 0..1
}

// Latency is in milliseconds.
type Latency struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
}

// key names a row.
type key struct{ namespace, name, to, version string }

// table collects rows.
type table map[key]*tally

func (t table) row(k key, by string) *tally {
	if t[k] == nil {
		t[k] = &tally{by: by}
	}
	return t[k]
}

// Rows makes the rows of one kind, by namespace and name. pods are all of the
// mesh; those with a proxy have a row though nobody asks anything of them.
func Rows(of Kind, pods []Pod, counted []Delta) []Row {
	switch of {
	case Workloads, Pods:
		return served(of, pods, counted)
	case Services, Routes:
		return asked(of, counted)
	}
	return nil
}

// served are the rows of those who answer.
func served(of Kind, pods []Pod, counted []Delta) []Row {
	t, byClients, out := table{}, table{}, map[key]int{}
	for _, p := range pods {
		k := keyOf(of, p)
		if p.Ejected > 0 {
			out[k]++
		}
		if p.Proxy {
			t.row(k, reporterOf(p))
		}
	}
	for _, d := range counted {
		for f, c := range d.Flows {
			// Whose word it is, is who was asked: labels are an app's to write.
			if f.Reporter == FromDestination || f.Reporter == FromSource && d.Pod.Gateway {
				t.row(keyOf(of, d.Pod), reporterOf(d.Pod)).add(f, c, d)
			}
			if f.Reporter == FromSource && of == Workloads {
				byClients.row(key{namespace: f.Destination.Namespace, name: f.Destination.Workload}, ByClients).add(f, c, d)
			}
		}
	}
	for k, clients := range byClients {
		if t[k] == nil && k.name != Unknown {
			t[k] = clients
		}
	}
	return t.rows(func(k key, r *Row) { n := out[k]; r.Ejected = &n })
}

func keyOf(of Kind, p Pod) key {
	if of == Workloads {
		return key{namespace: p.Namespace, name: cmp.Or(p.Workload, p.Name)}
	}
	return key{namespace: p.Namespace, name: p.Name}
}

func reporterOf(p Pod) string {
	if p.Gateway {
		return ByGateway
	}
	return ByServer
}

// asked are the rows of what callers ask for. A server's word is taken of callers
// that proved nothing, save for what callers' proxies have counted of that.
func asked(of Kind, counted []Delta) []Row {
	t, whole, unproven := table{}, map[key]float64{}, callsUnproven(counted)
	for _, d := range counted {
		for f, c := range d.Flows {
			if f.Reporter == FromDestination && f.Source.Workload == Unknown {
				u := unproven[wayOf(f)]
				if u.callers > 0 && u.callers >= u.servers {
					continue
				}
				c = c.part(u.servers-u.callers, u.servers)
			} else if f.Reporter != FromSource {
				continue
			}
			k := key{namespace: f.ServiceNamespace, name: f.Service}
			whole[k] += c.Requests + c.Opened
			if of == Routes {
				k.to, k.version = f.Destination.Workload, f.Destination.Version
			}
			t.row(k, "").add(f, c, d)
		}
	}
	return t.rows(func(k key, r *Row) {
		all := whole[key{namespace: k.namespace, name: k.name}]
		if r.To, r.Version = k.to, k.version; of == Routes && all > 0 {
			share := (r.Requests + r.Connections) / all
			r.Share = &share
		}
	})
}

func (t table) rows(finish func(key, *Row)) []Row {
	out := make([]Row, 0, len(t))
	for k, counted := range t {
		r := Row{Namespace: k.namespace, Name: k.name, By: counted.by, Figures: counted.figures()}
		finish(k, &r)
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.To, b.To), cmp.Compare(a.Version, b.Version))
	})
	return out
}

// tally adds up the flows of a row.
type tally struct {
	by             string
	sum            Counts
	failed         float64
	secure, told   float64 // requests and connections: by mutual TLS, of those where it is known
	timed          bool
	requests, open float64 // a second
	received, sent float64 // a second
}

func (t *tally) add(f Flow, c Counts, in Delta) {
	t.sum = Counts{
		Requests: t.sum.Requests + c.Requests, Duration: t.sum.Duration.add(c.Duration), Received: t.sum.Received + c.Received,
		Sent: t.sum.Sent + c.Sent, Opened: t.sum.Opened + c.Opened, Closed: t.sum.Closed + c.Closed,
	}
	if f.Failed() {
		t.failed += c.Requests
	}
	if yes, known := f.secure(); known && t.by != ByGateway { // how a gateway was asked nobody tells
		t.told += c.Requests + c.Opened
		if yes {
			t.secure += c.Requests + c.Opened
		}
	}
	if in.Seconds > 0 {
		t.timed = true
		t.requests += c.Requests / in.Seconds
		t.open += c.Opened / in.Seconds
		t.received += c.Received / in.Seconds
		t.sent += c.Sent / in.Seconds
	}
}

func (t *tally) figures() Figures {
	f := Figures{Requests: t.sum.Requests, Failed: t.failed, Connections: t.sum.Opened, Received: t.sum.Received, Sent: t.sum.Sent}
	if t.sum.Requests > 0 {
		f.SuccessRate = ratio(t.sum.Requests-t.failed, t.sum.Requests)
	}
	if t.told > 0 {
		f.MutualTLS = ratio(t.secure, t.told)
	}
	if t.timed {
		f.RequestRate, f.ConnectionRate, f.ReceivedRate, f.SentRate = &t.requests, &t.open, &t.received, &t.sent
	}
	if d := t.sum.Duration; !math.IsNaN(d.Quantile(0.5)) {
		f.Latency = &Latency{P50: d.Quantile(0.5), P95: d.Quantile(0.95), P99: d.Quantile(0.99)}
	}
	return f
}

func ratio(part, whole float64) *float64 {
	r := part / whole
	return &r
}
