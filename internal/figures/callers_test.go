package figures

import (
	"fmt"
	"testing"
)

// Callers of a service are those that called its name, whatever workloads answered: the
// server's word counts where it has a proxy, and the client's for one without.
func TestCallersByService(t *testing.T) {
	flow := func(reporter, service, to string) Flow {
		return Flow{Reporter: reporter, Source: End{Workload: "front", Namespace: "n", Principal: "spiffe://front"}, Destination: End{Workload: to, Namespace: "n", Principal: Unknown},
			Service: service, ServiceNamespace: "n", Code: "200"}
	}
	outside := flow(FromSource, "example.com", Unknown)
	outside.ServiceNamespace = Unknown
	front := Delta{Pod: Pod{Namespace: "n", Workload: "front", Proxy: true}, Flows: map[Flow]Counts{
		flow(FromSource, "a", "v1"): {Requests: 3}, flow(FromSource, "a", "bare"): {Requests: 2}, flow(FromSource, "b", "v1"): {Requests: 4}, outside: {Requests: 9},
	}}
	v1 := Delta{Pod: Pod{Namespace: "n", Workload: "v1", Proxy: true}, Flows: map[Flow]Counts{
		flow(FromDestination, "a", "v1"): {Requests: 3}, flow(FromDestination, "b", "v1"): {Requests: 4}, flow(FromDestination, "a", "other"): {Requests: 100},
	}}
	var got []string
	for _, e := range Callers([]Delta{front, v1}) {
		got = append(got, fmt.Sprintf("%s>%s.%s %s %.0f %s", e.From.Workload, e.To.Service, e.To.Namespace, e.From.Identity, e.Requests, e.By))
	}
	want := fmt.Sprintf("[front>a.n spiffe://front 2 %s front>a.n spiffe://front 3 %s front>b.n spiffe://front 4 %s]", ByClients, ByServer, ByServer)
	if fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}
