package figures

import (
	"cmp"
	"slices"
)

// Edge is a pair of which one calls the other.
type Edge struct {
	From Node `json:"from"`
	To   Node `json:"to"`
	// By is who says so: the server, who knows whom it let in, or the clients
	// where it has no proxy, and for calls that did not arrive.
	By string `json:"by"`
	Figures
}

// Node is an end of an edge.
type Node struct {
	Namespace string `json:"namespace"`
	Workload  string `json:"workload"`
	Identity  string `json:"identity"`          // SPIFFE URI that its certificate proved; "unknown": none
	Service   string `json:"service,omitempty"` // NAME.NAMESPACE or host that was called, where no workload of it is known
}

// pair names an edge whoever reports it.
type pair struct{ fromNamespace, from, toNamespace, to, service string }

// link names an edge with the identities of its ends.
type link struct {
	pair
	fromIdentity, toIdentity string
}

// Edges are who calls whom, by names. The server's word goes before the
// clients', which know their own identity and the server's, save for calls that
// did not arrive.
func Edges(counted []Delta) []Edge {
	return edges(counted, func(f Flow) link { return link{pairOf(f), f.Source.Principal, f.Destination.Principal} })
}

// Callers are who calls which service, by the name that was called: NAMESPACE is the
// service's and Service its short name, and of its workloads nothing is said. What was
// called by a host that is no Service's is left out.
func Callers(counted []Delta) []Edge {
	all := edges(counted, func(f Flow) link {
		return link{pair: pair{f.Source.Namespace, f.Source.Workload, f.ServiceNamespace, Unknown, f.Service}, fromIdentity: f.Source.Principal}
	})
	return slices.DeleteFunc(all, func(e Edge) bool { return e.To.Namespace == Unknown || e.To.Service == Unknown })
}

// edges joins what both sides say, by links.
func edges(counted []Delta, linkOf func(Flow) link) []Edge {
	type said struct{ workloads, ends pair } // of a service some workloads may have a proxy, and others none
	servers, clients, seen := map[link]*tally{}, map[link]*tally{}, map[said]bool{}
	eachCall(counted, FromDestination, func(f Flow, c Counts, d Delta) {
		l := linkOf(f)
		if own := keyOf(Workloads, d.Pod); own.namespace == f.Destination.Namespace && own.name == f.Destination.Workload { // no server speaks for another
			seen[said{pairOf(f), l.pair}] = true
			count(servers, ByServer, l).add(f, c, d)
		}
	})
	eachCall(counted, FromSource, func(f Flow, c Counts, d Delta) {
		if l := linkOf(f); !seen[said{pairOf(f), l.pair}] || f.lost() {
			count(clients, ByClients, l).add(f, c, d)
		}
	})
	out := []Edge{}
	for l, t := range servers {
		out = append(out, edge(l, t))
	}
	for l, t := range clients {
		out = append(out, edge(l, t))
	}
	slices.SortFunc(out, func(a, b Edge) int {
		return cmp.Or(a.From.compare(b.From), a.To.compare(b.To), cmp.Compare(a.By, b.By))
	})
	return out
}

// eachCall goes through the flows of one side in which something was called.
func eachCall(counted []Delta, reporter string, do func(Flow, Counts, Delta)) {
	for _, d := range counted {
		for f, c := range d.Flows {
			if f.Reporter == reporter && c.Requests+c.Opened > 0 {
				do(f, c, d)
			}
		}
	}
}

func count(into map[link]*tally, by string, l link) *tally {
	if into[l] == nil {
		into[l] = &tally{by: by}
	}
	return into[l]
}

// pairOf names the service only where nobody of it is known.
func pairOf(f Flow) pair {
	p := pair{fromNamespace: f.Source.Namespace, from: f.Source.Workload, toNamespace: f.Destination.Namespace, to: f.Destination.Workload}
	if p.to == Unknown {
		p.service = f.Service
		if f.ServiceNamespace != Unknown && f.Service != Unknown {
			p.service += "." + f.ServiceNamespace
		}
	}
	return p
}

func edge(l link, t *tally) Edge {
	return Edge{
		From: Node{Namespace: l.fromNamespace, Workload: l.from, Identity: l.fromIdentity},
		To:   Node{Namespace: l.toNamespace, Workload: l.to, Identity: l.toIdentity, Service: l.service},
		By:   t.by, Figures: t.figures(),
	}
}

func (n Node) compare(o Node) int {
	return cmp.Or(cmp.Compare(n.Namespace, o.Namespace), cmp.Compare(n.Workload, o.Workload), cmp.Compare(n.Service, o.Service), cmp.Compare(n.Identity, o.Identity))
}
