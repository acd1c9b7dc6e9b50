package xds

import (
	"strings"
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// counter is a tally that is brought up to date by every look.
type counter struct {
	*Tally
	t *testing.T
}

func (c counter) becomes(object, what string, want func(Count) bool) {
	c.t.Helper()
	var got Count
	eventually(c.t, object+" to be "+what, func() bool {
		c.Update()
		got = c.Of("VirtualService/default/" + object)
		return want(got)
	})
}

func is(proxies, live int) func(Count) bool {
	return func(c Count) bool { return c.Proxies == proxies && c.Live == live }
}

// TestTally: an object is live where all of it was acknowledged, in the newest
// form; who refuses is named; agents' streams and ended ones do not count.
func TestTally(t *testing.T) {
	w := newWorld(t, Options{})
	count := counter{w.srv.NewTally(func(object string) bool { return strings.HasPrefix(object, "VirtualService/") }), t}
	a, b := w.connectAs(node("sidecar~1.1.1.1~a.default~x", nil)), w.connectAs(node("sidecar~1.1.1.2~b.default~x", nil))
	agent := w.connectAs(node("sidecar~1.1.1.1~a.default~x", nil))
	agent.subscribe("nds")
	a.subscribe("cds")
	w.put("cds one=1", "lds l=1")
	count.becomes("one", "known, but not live: the proxy takes its first configuration", is(1, 0))
	a.subscribe("lds")
	count.becomes("one", "live", is(1, 1))
	for _, short := range []string{"cds", "lds"} {
		b.subscribe(short)
	}
	count.becomes("one", "live on both", is(2, 2))
	if n := len(count.Update()); n != 0 {
		t.Errorf("%d objects are touched, though nothing happened", n)
	}

	b.mu.Lock()
	b.nack = func(_ string, r *discovery.Resource) string {
		if r.Name == "one" {
			return "no such thing"
		}
		return ""
	}
	b.mu.Unlock()
	w.put("cds one=2")
	count.becomes("one", "refused by b", func(c Count) bool {
		return c.Proxies == 2 && c.Live == 1 && len(c.Refusals) == 1 &&
			c.Refusals[0] == Refusal{Proxy: "b.default", Resource: "one", Message: "no such thing"}
	})
	w.put("cds one=1")
	count.becomes("one", "live again", is(2, 2))
	w.put("cds two=1")
	if count.becomes("two", "live", is(2, 2)); count.Of("VirtualService/default/one").Live != 2 {
		t.Error("one is not live any more")
	}
	w.put("cds two")
	count.becomes("two", "gone", is(0, 0))
	b.cancel()
	count.becomes("one", "live on the other", is(1, 1))
}
