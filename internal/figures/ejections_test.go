package figures

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What the agent says of hosts that are left out is read as it is written; a time
// that can be none is none.
func TestEjectionsAreRead(t *testing.T) {
	at := func(address string, value any) string {
		return fmt.Sprintf("weft_upstream_ejected_timestamp_seconds{address=%q,destination_port=\"80\",destination_service=\"a.n.svc\",destination_subset=\"v1\",reason=\"consecutive_5xx\"} %v\n", address, value)
	}
	s := read(t, "front", time.Unix(1000, 0), at("10.0.0.1:80", 1.5), at("[::1]:80", "NaN"), at("10.0.0.2:80", 1e300), at("10.0.0.3:80", -4))
	if len(s.Out) != 4 || s.Out[0] != (Ejection{"a.n.svc", "80", "v1", "10.0.0.1:80", "consecutive_5xx", time.UnixMilli(1500).UTC()}) || len(s.Flows) != 0 {
		t.Errorf("%+v, flows %v", s.Out, s.Flows)
	}
	for _, e := range s.Out[1:] {
		if !e.Since.IsZero() {
			t.Errorf("%s: since %v", e.Address, e.Since)
		}
	}
}

// A page of a pod's choice does not have all it says of them kept.
func TestEjectionsAreBounded(t *testing.T) {
	var lines []string
	for i := range 3 * maxOut {
		lines = append(lines, fmt.Sprintf("weft_upstream_ejected_timestamp_seconds{address=\"%d\",reason=%q} 1\n", i, strings.Repeat("x", 1000)))
	}
	s := read(t, "front", time.Unix(1000, 0), lines...)
	if len(s.Out) != maxOut {
		t.Fatalf("%d hosts", len(s.Out))
	}
	if n := len(s.Out[0].Reason); n != maxReason {
		t.Errorf("a reason of %d bytes", n)
	}
}

// What the agent says of limits that are met is joined by limit, in an order of its
// own, and bounded.
func TestOverflowsAreRead(t *testing.T) {
	line := func(name, limit string, value any) string {
		return fmt.Sprintf("%s{destination_port=\"80\",destination_service=\"a.n.svc\",destination_subset=\"v1\",limit=%q} %v\n", name, limit, value)
	}
	s := read(t, "front", time.Unix(1000, 0), line(overflowsTotal, "retries", 2), line(overflowsTotal, "connections", 3), line(overflowingAt, "connections", 1.5), line(overflowingLimit, "connections", 7),
		line(overflowingAt, "retries", "NaN"))
	of := func(limit string) Limit { return Limit{"a.n.svc", "80", "v1", limit} }
	want := []Overflow{{of("connections"), 3, 7, time.UnixMilli(1500).UTC()}, {of("retries"), 2, 0, time.Time{}}}
	if fmt.Sprint(s.Overflows) != fmt.Sprint(want) || len(s.Flows) != 0 {
		t.Errorf("%+v, want %+v; flows %v", s.Overflows, want, s.Flows)
	}
	var many []string
	for i := range 3 * maxOverflows {
		many = append(many, line(overflowsTotal, fmt.Sprint(i, strings.Repeat("x", 1000)), 1))
	}
	if s := read(t, "front", time.Unix(1000, 0), many...); len(s.Overflows) != maxOverflows || len(s.Overflows[0].Limit.Limit) != maxReason {
		t.Errorf("%d limits, the first of %d bytes", len(s.Overflows), len(s.Overflows[0].Limit.Limit))
	}
	long := strings.Replace(line(overflowsTotal, "requests", 1), "a.n.svc", strings.Repeat("x", 1000), 1)
	if s := read(t, "front", time.Unix(1000, 0), long); len(s.Overflows) != 0 {
		t.Errorf("a host of 1000 bytes is kept")
	}
	if field := (Limit{Service: "inbound|8080||", Limit: "requests"}).Field(); field != "" || of("requests").Field() != "connectionPool.http.http2MaxRequests" {
		t.Errorf("%q for the pod's own port, %q for a service", field, of("requests").Field())
	}
}
