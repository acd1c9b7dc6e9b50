package xds

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

func metadata(labels map[string]string) *structpb.Struct {
	fields := map[string]any{}
	for k, v := range labels {
		fields[k] = v
	}
	m, err := structpb.NewStruct(map[string]any{"NAMESPACE": "default", "LABELS": fields})
	if err != nil {
		panic(err)
	}
	return m
}

func TestWireFormat(t *testing.T) {
	a := snapshot.New(snapshot.Cluster, "a", []byte("body"))
	r := &response{typeURL: snapshot.Cluster, nonce: "n", resources: []*snapshot.Resource{a}, removed: []string{"b"}, absent: []string{"c"}}
	buf, err := NewCodec().Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got discovery.DeltaDiscoveryResponse
	if err := proto.Unmarshal(buf.Materialize(), &got); err != nil {
		t.Fatal(err)
	}
	if got.TypeUrl != r.typeURL || got.Nonce != "n" || len(got.Resources) != 2 || got.RemovedResources[0] != "b" {
		t.Fatalf("decoded %v", &got)
	}
	if c := got.Resources[0]; c.Name != "c" || c.Resource != nil || c.Aliases[0] != "c" {
		t.Errorf("absent: %v", c)
	}
	if res := got.Resources[1]; res.Name != "a" || res.Version != a.Version || res.Resource.TypeUrl != snapshot.Cluster || string(res.Resource.Value) != "body" {
		t.Errorf("resource: %v", res)
	}
}

func TestSubscribeAndUpdate(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.connect()
	c.request("cds", nil)
	w.put("cds a=1", "cds b=1", "eds a=10", "eds b=20", "lds l=1", "rds 80=1")
	c.waitLog("+cds a=1", "+cds b=1")
	c.subscribe("eds", "a", "gone")
	c.waitLog("+eds a=10", "-eds gone")
	w.put("eds b=21") // not subscribed to: nothing comes
	w.put("eds a=11")
	c.waitLog("+eds a=11")
	c.subscribe("eds", "b")
	c.waitLog("+eds b=21")
	c.request("eds", func(r *discovery.DeltaDiscoveryRequest) { r.ResourceNamesUnsubscribe = []string{"a"} })
	w.subscribed("eds", "a", false)
	w.put("eds a=12", "eds b=22")
	c.waitLog("+eds b=22")
	w.put("cds b")
	c.waitLog("-cds b")
}

func TestSameContentIsNoPush(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.connect()
	c.request("cds", nil)
	w.put("cds a=1")
	c.waitLog("+cds a=1")
	if n := w.srv.Publish(classNamed(""), with(w.snap, "cds a=1"), time.Now()); n != 0 {
		t.Fatalf("equal content counts as %d changes", n)
	}
	w.put("cds b=1")
	c.waitLog("+cds b=1")
}

func TestReconnectGetsOnlyWhatItLacks(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.connect()
	c.request("cds", nil)
	c.subscribe("rds", "80")
	c.request("vhds", nil)
	w.put("cds a=1", "cds b=1", "rds 80=1", "vhds 80/x=1", "vhds 80/y=1")
	c.wait("cds a=1 b=1; rds 80=1; vhds 80/x=1 80/y=1")
	back := func() *client {
		d := w.connect()
		d.request("cds", func(r *discovery.DeltaDiscoveryRequest) { r.InitialResourceVersions = c.versions("cds") })
		d.request("rds", func(r *discovery.DeltaDiscoveryRequest) {
			r.InitialResourceVersions, r.ResourceNamesSubscribe = c.versions("rds"), []string{"80"}
		})
		d.request("vhds", func(r *discovery.DeltaDiscoveryRequest) { r.InitialResourceVersions = c.versions("vhds") })
		return d
	}
	back().waitLog("=cds", "=rds", "=vhds")
	c.cancel()
	eventually(t, "the end of the first stream", func() bool { return c.failure() != nil })
	w.put("vhds 80/x=2", "vhds 80/y", "vhds 80/z=1", "vhds 90/no=1")
	back().waitLog("=cds", "=rds", "+vhds 80/x=2", "+vhds 80/z=1", "-vhds 80/y")
}

func TestVirtualHostsFollowTheirTable(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.connect()
	c.subscribe("rds", "80")
	w.put("rds 80=1", "rds 90=1", "rds 99=1", "vhds 80/x=1", "vhds 90/x=1")
	c.waitLog("+rds 80=1")
	c.request("vhds", nil) // Envoy's only request for virtual hosts names nothing
	c.waitLog("+vhds 80/x=1")
	c.subscribe("rds", "90")
	c.waitLog("+rds 90=1", "+vhds 90/x=1")
	w.put("vhds 80/x=2", "vhds 90/y=1", "vhds 77/x=1")
	c.waitLog("+vhds 80/x=2", "+vhds 90/y=1")
	c.subscribe("rds", "99")
	c.waitLog("+rds 99=1", "-vhds 99/") // empty, said in a way that ends Envoy's wait
	c.request("rds", func(r *discovery.DeltaDiscoveryRequest) { r.ResourceNamesUnsubscribe = []string{"90"} })
	w.subscribed("rds", "90", false)
	w.put("vhds 90/y=2", "vhds 80/x=3")
	c.waitLog("+vhds 80/x=3")
	c.subscribe("vhds", "80/unknown.host")
	c.waitLog("+vhds 80/unknown.host=")
}

func TestOrderOfNewAndRemoved(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.connect()
	c.request("cds", nil)
	c.subscribe("eds", "a")
	c.subscribe("rds", "80")
	c.request("vhds", nil)
	w.put("cds a=1", "eds a=1", "rds 80=1", "vhds 80/x=to-a")
	c.wait("cds a=1; eds a=1; rds 80=1; vhds 80/x=to-a")
	eventually(t, "all acknowledged", func() bool { return settled(w.srv) })
	c.forget()

	// A new cluster, its endpoints, then the route to it; the old cluster
	// stays until the route was acknowledged.
	c.mu.Lock()
	c.mute["vhds"] = true
	c.mu.Unlock()
	w.put("cds a", "eds a", "cds b=1", "eds b=1", "vhds 80/x=to-b")
	c.waitLog("+cds b=1")
	c.subscribe("eds", "b")
	c.waitLog("+eds b=1", "+vhds 80/x=to-b")
	c.unmute("vhds")
	c.waitLog("-cds a", "-eds a")
}

func settled(s *Server) bool {
	for _, st := range s.Streams() {
		for _, ty := range st.Types {
			if !ty.Synced {
				return false
			}
		}
	}
	return true
}

func TestUpdatedClusterGetsItsEndpointsAgain(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.connect()
	c.request("cds", nil)
	c.subscribe("eds", "a")
	w.put("cds a=1", "eds a=1")
	c.wait("cds a=1; eds a=1")
	c.forget()
	w.put("cds a=2")
	c.waitLog("+cds a=2", "+eds a=1")
}

func TestEndpointsPassUnacknowledgedConfig(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.connect()
	c.mute["cds"], c.mute["lds"] = true, true
	c.request("cds", nil)
	c.request("lds", nil)
	c.subscribe("eds", "a")
	w.put("cds a=1", "lds l=1", "eds a=1")
	c.wait("cds a=1; eds a=1; lds l=1")
	w.put("eds a=2", "lds l=2")
	c.wait("eds a=2; lds l=1")
	c.unmute("lds")
	c.wait("lds l=2")
}

func TestRefusedResourceIsRolledBack(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.connect()
	c.nack = func(short string, r *discovery.Resource) string {
		if strings.HasPrefix(string(r.GetResource().GetValue()), "bad") {
			return "Error adding/updating cluster(s) " + r.Name + ": no good"
		}
		return ""
	}
	c.request("cds", nil)
	w.put("cds a=1", "cds ab=1", "cds b=1")
	c.wait("cds a=1 ab=1 b=1")
	c.forget()
	w.put("cds a=bad", "cds ab=2", "cds new=bad2", "cds b=2")
	// The culprits are named: they are rolled back, the others go live.
	c.wait("cds a=1 ab=2 b=2")
	nacks := w.srv.Nacks()
	if len(nacks) == 0 || nacks[0].Proxy != "a.default" {
		t.Fatalf("recorded: %+v", nacks)
	}
	eventually(t, "both culprits held", func() bool {
		ty := w.srv.Streams()[0].Types[0]
		return len(ty.Refused) == 2 && ty.Refused[0].Name == "a" && ty.Refused[1].Name == "new" && !ty.Synced &&
			slices.Equal(ty.Refused[0].Objects, []string{"VirtualService/default/a"})
	})
	eventually(t, "b live and a not", func() bool {
		live := map[string]int{}
		for _, l := range w.srv.LiveObjects() {
			live[l.Object] = l.Live
		}
		return live["VirtualService/default/a"] == 0 && live["VirtualService/default/b"] == 1
	}, func() string { return fmt.Sprint(w.srv.LiveObjects()) })
	w.put("cds a=3")
	c.wait("cds a=3 ab=2 b=2")
	w.put("cds ab=bad3")
	eventually(t, "the culprit held", func() bool { return len(w.srv.Streams()[0].Types[0].Refused) == 2 })
	// Whoever takes a mistake back is in sync, though there is nothing to send.
	w.put("cds new", "cds ab=2")
	eventually(t, "all in sync", func() bool { ty := w.srv.Streams()[0].Types[0]; return len(ty.Refused) == 0 && ty.Synced })
	c.wait("cds a=3 ab=2 b=2")
}

// TestRoutesWaitForRefusedCluster: a route that would lead to a cluster that
// the proxy refused stays as it was, and so do the clusters that it leads to,
// until the cluster is taken.
func TestRoutesWaitForRefusedCluster(t *testing.T) {
	for name, culprit := range map[string]string{"named": "cluster new: no good", "not named": "no good"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{})
			c := w.connect()
			c.nack = func(_ string, r *discovery.Resource) string {
				if string(r.GetResource().GetValue()) == "bad" {
					return culprit
				}
				return ""
			}
			c.request("cds", nil)
			c.subscribe("rds", "80")
			c.request("vhds", nil)
			w.put("cds old=1", "rds 80=1", "vhds 80/x=\x03old", "vhds 80/y=1", "vhds 80/z=1")
			c.wait("cds old=1; rds 80=1; vhds 80/x=\x03old 80/y=1 80/z=1")
			// Several at once, so that an unnamed culprit must be looked for.
			w.put("cds new=bad", "cds p=1", "cds q=1", "cds old", "vhds 80/x=\x03new", "vhds 80/y=\x01p", "vhds 80/z=\x07newborn")
			const held = "cds old=1 p=1 q=1; rds 80=1; vhds 80/x=\x03old 80/y=\x01p 80/z=\x07newborn"
			c.wait(held)
			w.put("cds r=1") // nothing else comes of it
			c.wait(strings.Replace(held, "q=1", "q=1 r=1", 1))
			eventually(t, "the routes are not in sync", func() bool {
				for _, ty := range w.srv.Streams()[0].Types {
					if ty.Type == snapshot.VirtualHost {
						return !ty.Synced
					}
				}
				return false
			})
			w.put("cds new=2")
			c.wait("cds new=2 p=1 q=1 r=1; rds 80=1; vhds 80/x=\x03new 80/y=\x01p 80/z=\x07newborn")
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, line := range c.log {
				if line == "+vhds 80/x=\x03new" {
					return
				}
				if line == "-cds old" {
					t.Error("the old cluster went before the route that leads to it")
				}
			}
		})
	}
}

func TestUnnamedCulpritIsFound(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.connect()
	c.nack = func(_ string, r *discovery.Resource) string {
		if string(r.GetResource().GetValue()) == "bad" {
			return "something is wrong"
		}
		return ""
	}
	c.request("cds", nil)
	var specs []string
	var want strings.Builder
	for i := range 300 {
		specs = append(specs, fmt.Sprintf("cds c%03d=1", i))
	}
	specs[77] = "cds c077=bad"
	start := time.Now()
	w.put(specs...)
	want.WriteString("cds")
	for i := range 300 {
		if i != 77 {
			fmt.Fprintf(&want, " c%03d=1", i)
		}
	}
	c.wait(want.String())
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("took %v", d)
	}
	eventually(t, "culprit", func() bool { r := w.srv.Streams()[0].Types[0].Refused; return len(r) == 1 && r[0].Name == "c077" })
}

func TestEndlessNacksAreSlowedDown(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.connect()
	c.nack = func(string, *discovery.Resource) string { return "never" }
	c.request("cds", nil)
	var specs []string
	for i := range 200 {
		specs = append(specs, fmt.Sprintf("cds c%03d=1", i))
	}
	w.put(specs...)
	eventually(t, "back-off", func() bool { return len(w.srv.Nacks()) > quickNacks+2 })
	if backoff(quickNacks+40) != maxBackoff || backoff(quickNacks+2) <= nackPause {
		t.Fatal("the back-off does not grow to its limit")
	}
	// Others are served meanwhile.
	d := w.connect()
	d.request("cds", nil)
	eventually(t, "another client", func() bool { return len(d.versions("cds")) == 200 })
}

func TestClassMovesWithoutReconnect(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.connect()
	c.request("cds", nil)
	w.put("cds a=1", "cds b=1")
	c.wait("cds a=1 b=1")
	c.forget()
	// An object now selects the pod's label: its class is another one.
	w.srv.SetDirectory(otherClass{})
	w.publish("other", with(snapshot.Snapshot{}, "cds a=1", "cds b=2", "cds c=1"))
	c.waitLog("+cds b=2", "+cds c=1")
	w.put("cds a=9") // of the class that it left
	w.publish("other", with(snapshot.Snapshot{}, "cds a=1", "cds b=3", "cds c=1"))
	c.waitLog("+cds b=3")
}

type otherClass struct{ fakeDirectory }

func (otherClass) Classes(p proxy) []proxyClass { return []proxyClass{classNamed("other")} }

func TestClassesAreForgotten(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.connect()
	c.request("cds", nil)
	<-w.srv.Wanted()
	if all, missing := w.srv.Classes(time.Hour); len(all) != 1 || len(missing) != 1 {
		t.Fatalf("classes %v, missing %v", all, missing)
	}
	w.put("cds a=1")
	c.wait("cds a=1")
	c.cancel()
	eventually(t, "the stream's end", func() bool { return len(w.srv.Streams()) == 0 })
	if all, _ := w.srv.Classes(0); len(all) != 0 {
		t.Fatalf("still there: %v", all)
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := newWorld(t, Options{Metrics: reg})
	c := w.connect()
	c.request("cds", nil)
	w.put("cds a=1")
	c.wait("cds a=1")
	w.put("cds a=2")
	c.wait("cds a=2")
	values := func() map[string]float64 {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]float64{}
		for _, f := range families {
			for _, m := range f.Metric {
				name := f.GetName()
				for _, l := range m.Label {
					name += " " + l.GetValue()
				}
				out[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
		return out
	}
	want := map[string]float64{"pilot_xds": 1, "pilot_xds_pushes cds": 2, "weft_pilot_xds_acks_total cds": 2, "pilot_proxy_convergence_time": 1, "pilot_total_xds_rejects": 0, "weft_pilot_classes": 1}
	eventually(t, "the metrics", func() bool {
		got := values()
		for name, v := range want {
			if got[name] != v {
				return false
			}
		}
		return true
	}, func() string { return fmt.Sprint(values()) })
}
