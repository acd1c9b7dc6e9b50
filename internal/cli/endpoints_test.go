package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/internal/local/controller"
)

// What several proxies say of a host is one line of it; those that eject it say
// what they counted.
func TestEndpointsJoinProxies(t *testing.T) {
	var all []upstream
	for _, name := range []string{"z", "a"} {
		found, err := upstreams([]byte(clusters), controller.PodStatus{Namespace: "n", Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if name == "z" { // only its agent knows why
			explain(found, []figures.Ejection{
				{Service: "b", Port: "80", Address: "10.0.0.2:80", Reason: "consecutive_5xx", Since: time.Unix(100, 0).UTC()},
				{Service: "b", Port: "80", Subset: "v1", Address: "10.0.0.2:80", Reason: "of another cluster"},
			})
		}
		all = append(all, found...)
	}
	all = append(all, upstream{cluster: "outbound|80||b", address: "10.0.0.3:80", state: "UNHEALTHY"}, upstream{cluster: "inbound|80||b"}, upstream{cluster: "xds-grpc"},
		upstream{cluster: "outbound|80|v1|c.shop.svc.cluster.local", address: "10.0.0.4:80", state: "HEALTHY"})
	got := fmt.Sprintf("%+v", endpointsOf(all, "", ""))
	if want := "[{Service:b Port:80 Subset: Pod: Address:10.0.0.2:80 Proxies:2 Eject:[{Pod:n/a Reason: Since:0001-01-01 00:00:00 +0000 UTC Requests:12 Failed:5 Refused:0} {Pod:n/z Reason:consecutive_5xx Since:1970-01-01 00:01:40 +0000 UTC Requests:12 Failed:5 Refused:0}] NotReady:0} " +
		"{Service:b Port:80 Subset: Pod: Address:10.0.0.3:80 Proxies:3 Eject:[] NotReady:1} " +
		"{Service:c.shop.svc.cluster.local Port:80 Subset:v1 Pod: Address:10.0.0.4:80 Proxies:1 Eject:[] NotReady:0}]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if n := len(endpointsOf(all, "c", "shop")); n != 1 {
		t.Errorf("%d of service c in shop", n)
	}
	if n := len(endpointsOf(all, "", "other")); n != 0 {
		t.Errorf("%d of another namespace", n)
	}
	if got := fmt.Sprint(ejectedTable(endpointsOf(all, "b", ""), time.Unix(142, 0))[1:]); got != "[[b 80   10.0.0.2:80 n/a   5 of 12 requests failed] [b 80   10.0.0.2:80 n/z 5xx in a row 42s 5 of 12 requests failed]]" {
		t.Errorf("table %v", got)
	}
}

// Requests that a breaker refused, or that had no host, are counted by caller.
func TestRequestsThatReachedNoHost(t *testing.T) {
	flow := func(flags string) figures.Flow {
		return figures.Flow{Reporter: figures.FromSource, Service: "b", ServiceNamespace: "n", Flags: flags}
	}
	served := flow("UO")
	served.Reporter = figures.FromDestination
	l := look{samples: map[string]figures.Sample{"n/a": {Flows: map[figures.Flow]figures.Counts{
		flow("UO"): {Requests: 3}, flow("UH"): {Requests: 2}, flow("URX,UO"): {Requests: 4}, flow("-"): {Requests: 9}, served: {Requests: 5},
	}}}}
	if got := fmt.Sprintf("%+v", rejectedOf(l, "b.n.svc.cluster.local", "n")); got != "[{Caller:n/a Service:b.n Overflowed:7 Unhealthy:2}]" {
		t.Error(got)
	}
	if n := len(rejectedOf(l, "c", "")) + len(rejectedOf(l, "", "other")); n != 0 {
		t.Errorf("%d of other services", n)
	}
}

// A limit that is met is said with its value, since when, and the field to raise.
func TestOverflows(t *testing.T) {
	met := func(by, service, limit string, since int64) metLimit {
		return metLimit{by, figures.Overflow{Limit: figures.Limit{Service: service, Port: "80", Subset: "v1", Limit: limit}, Times: 7, Allowed: float64(since / 10), Since: time.Unix(since, 0)}}
	}
	all := []metLimit{met("n/a", "b.n.svc.cluster.local", "pending_requests", 100), met("n/a", "c.n.svc.cluster.local", "retries", 100), met("n/a", "example.com", "else\x1b", 0)}
	if got := fmt.Sprintf("%q", overflowTable(overflowsOf(all, "b", "n"), time.Unix(142, 0))[1:]); got !=
		`[["b.n.svc.cluster.local" "80" "v1" "n/a" "pending requests" "10" "7" "42s" "connectionPool.http.http1MaxPendingRequests"]]` {
		t.Error(got)
	}
	if n, m := len(overflowsOf(all, "", "n")), len(overflowsOf(all, "", "")); n != 2 || m != 3 {
		t.Errorf("%d of the namespace, %d in all", n, m)
	}
	var out bytes.Buffer
	a := &app{out: &out, err: io.Discard}
	if err := a.printEndpoints(toldOfEndpoints{Overflows: overflowsOf(all, "", "")}, look{at: time.Unix(142, 0)}, true); err != nil || !strings.Contains(out.String(), `else\u001b`) ||
		!strings.Contains(out.String(), "maxRetries") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
