package translate

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

// secured has mesh mTLS for all that takes it, as by default.
func secured() *model.Settings {
	return &model.Settings{TrustDomain: "cluster.local", AutoMTLS: true, ConnectTimeout: 3 * time.Second}
}

func usualClusterOf() *model.Cluster {
	s := &model.Service{Host: "a.b.svc.cluster.local", Name: "a", Namespace: "b"}
	return &model.Cluster{
		Name: "outbound|80||a.b.svc.cluster.local", SNI: "outbound_.80_._.a.b.svc.cluster.local", Port: model.Port{Name: "http", Number: 80, Protocol: model.ProtocolHTTP}, Service: s,
		Identities: []string{"spiffe://cluster.local/ns/b/sa/a"},
	}
}

// writtenCluster is a cluster as its reader sees it, and what it would be if all
// of it were made of Envoy's messages, each with its mesh mTLS opened. It is
// serialised to the same bytes whether it is the first of its kind or not.
func writtenCluster(t *testing.T, b *builder, c *model.Cluster) (got, want []proto.Message) {
	t.Helper()
	bodies := [][]byte{bytesOf(b.cluster(c)), bytesOf(b.cluster(c))}
	if !slices.Equal(bodies[0], bodies[1]) {
		t.Fatalf("not the same bytes twice: %q %q", bodies[0], bodies[1])
	}
	alone := &builder{shared: b.shared}
	m := alone.mannerOf(c)
	made := alone.anyCluster(c, &m)
	made.Metadata = metadataMade(c)
	alone.buffers(made)
	return opened(t, bodies[0]), opened(t, serialised(made))
}

// metadataMade is a cluster's metadata without anything written by hand.
func metadataMade(c *model.Cluster) *core.Metadata {
	s := c.Service
	istio := map[string]any{"default_original_port": float64(c.Port.Number), "services": []any{map[string]any{"host": s.Host, "name": s.Name, "namespace": s.Namespace}}}
	if c.Origin != "" {
		istio["config"] = string(c.Origin)
	}
	if c.Subset != "" {
		istio["subset"] = c.Subset
	}
	out := &core.Metadata{FilterMetadata: map[string]*structpb.Struct{}}
	out.FilterMetadata[istioSpace], _ = structpb.NewStruct(istio)
	out.FilterMetadata[telemetrySpace], _ = structpb.NewStruct(map[string]any{"host": s.Host, "name": s.Name, "ns": s.Namespace})
	return out
}

// opened gives a cluster as its reader sees it, and apart from it how it opens
// TLS.
func opened(t *testing.T, body []byte) (all []proto.Message) {
	t.Helper()
	out, _ := rejoined(body, &cluster.Cluster{}).(*cluster.Cluster)
	for _, match := range out.GetTransportSocketMatches() {
		any := match.GetTransportSocket().GetTypedConfig()
		if context := (&tls.UpstreamTlsContext{}); any.MessageIs(context) {
			if err := any.UnmarshalTo(context); err != nil {
				t.Fatal(err)
			}
			all = append(all, context)
			any.Value = nil
		}
	}
	return append(all, out)
}

func equal(a, b []proto.Message) bool { return slices.EqualFunc(a, b, proto.Equal) }

// A cluster that is written by hand is what Envoy's messages would be, and so
// are those who may answer for it.
func TestUsualClusters(t *testing.T) {
	aliased := secured()
	aliased.TrustAliases = []string{"old.example"}
	buffered := secured()
	buffered.Connections.ClusterBuffer = 1 << 15
	named := secured()
	named.Defaults.OutboundStat = "%SERVICE_NAME%_%SERVICE_PORT_NAME%"
	for name, s := range map[string]*model.Settings{"mesh mTLS": secured(), "aliases": aliased, "a buffer": buffered, "statistics": named, "plaintext": {}} {
		for _, identities := range [][]string{nil, {"spiffe://cluster.local/ns/b/sa/a"}, {"spiffe://cluster.local/ns/b/sa/a", "other.example"}} {
			c := usualClusterOf()
			c.Identities = identities
			b := &builder{shared: shared{Settings: s, class: class{Role: model.RoleOutbound}}, trunks: map[any][]byte{}}
			got, want := writtenCluster(t, b, c)
			if b.cluster(c).written == nil || !equal(got, want) || len(b.errs) > 0 {
				t.Errorf("%s: %v\nwant %v; %v", name, got, want, b.errs)
			}
			context, secure := got[0].(*tls.UpstreamTlsContext)
			if secure != s.AutoMTLS {
				t.Fatalf("%s: %v", name, got)
			}
			if wantTLS := (&tls.UpstreamTlsContext{Sni: c.SNI, CommonTlsContext: b.meshContext(b.anyPeer())}); secure {
				if len(identities) > 0 {
					wantTLS.CommonTlsContext = b.meshContext(alternativeNames(b.withAliases(identities)))
				}
				if !proto.Equal(context, wantTLS) {
					t.Errorf("%s: %v\nwant %v", name, context, wantTLS)
				}
			}
		}
	}
}

// Whatever objects can say of a cluster is in it: each field of the model in
// turn is set to something.
func TestUsualClusterFields(t *testing.T) {
	parts := map[string]func(*model.Cluster) any{
		"Cluster": func(c *model.Cluster) any { return c },
		"Service": func(c *model.Cluster) any { return c.Service },
		"Port":    func(c *model.Cluster) any { return &c.Port },
		"Traffic": func(c *model.Cluster) any { return &c.Traffic },
	}
	for name, part := range parts {
		for i := range reflect.TypeOf(part(usualClusterOf())).Elem().NumField() {
			c := usualClusterOf()
			field := reflect.ValueOf(part(c)).Elem().Field(i)
			if what := reflect.TypeOf(part(c)).Elem().Field(i).Name; what == "Service" {
				continue // its parts are set
			}
			field.Set(something(field.Type(), 3))
			b := &builder{shared: shared{Settings: secured()}, trunks: map[any][]byte{}}
			if got, want := writtenCluster(t, b, c); !equal(got, want) {
				t.Errorf("%s.%s: %v\nwant %v", name, reflect.TypeOf(part(c)).Elem().Field(i).Name, got, want)
			}
		}
	}
}

// Names that Envoy might refuse are left to its own rules.
func TestUsualClusterNames(t *testing.T) {
	for _, change := range []func(*model.Cluster){
		func(c *model.Cluster) { c.Name = "" }, func(c *model.Cluster) { c.Name = "a\n" }, func(c *model.Cluster) { c.SNI = "ä" }, func(c *model.Cluster) { c.Subset = "\xff" },
		func(c *model.Cluster) { c.Identities = []string{"\x00"} }, func(c *model.Cluster) { c.Service.Host = "ä" }, func(c *model.Cluster) { c.SNI = strings.Repeat("a", 256) },
	} {
		c := usualClusterOf()
		change(c)
		b := &builder{shared: shared{Settings: secured()}}
		if m := b.mannerOf(c); b.named(c, &m) {
			t.Errorf("%+v is written by hand", c)
		}
	}
	b, c := &builder{shared: shared{Settings: secured()}}, usualClusterOf()
	c.SNI = strings.Repeat("a", 256)
	if b.cluster(c); len(b.errs) == 0 {
		t.Error("a server name is taken that Envoy refuses")
	}
}

// In meshes of every kind, what is written by hand is what Envoy's messages
// would be.
func TestWrittenInRandomMeshes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	meshes := []*meshtest.Mesh{everything(), meshtest.Bookshop()}
	count := 0
	for step := range 150 {
		m := meshes[step%2]
		meshtest.Random(rnd, m)
		v := view.Of(m.Model(), everyClass[rnd.IntN(len(everyClass))])
		b := &builder{shared: shared{Settings: v.Settings, class: class{Role: v.Class.Role}}, trunks: map[any][]byte{}}
		for _, c := range v.Clusters.All() {
			if got, want := writtenCluster(t, b, c); !equal(got, want) {
				t.Fatalf("step %d: %v\nwant %v", step, got, want)
			}
			if b.cluster(c).written != nil {
				count++
			}
		}
		for name, h := range v.Hosts.All() {
			if got, want := written(t, v.Settings, h); !proto.Equal(got, want) || got.GetName() != name {
				t.Fatalf("step %d: %s: %v\nwant %v", step, name, got, want)
			}
		}
	}
	if count < 300 {
		t.Errorf("only %d clusters were written by hand", count)
	}
}

// Whatever the names are, what is written by hand is what Envoy's messages would
// be, or is left to them.
func FuzzUsual(f *testing.F) {
	f.Add("reviews.default.svc.cluster.local", "spiffe://cluster.local/ns/b/sa/a", "v1", uint32(9080))
	f.Add(strings.Repeat("long.", 60), "other.example", "", uint32(0))
	f.Add("ä\n", "\x00", "\xff", uint32(1<<31))
	f.Fuzz(func(t *testing.T, host, identity, subset string, port uint32) {
		valid := func(s string) string { return strings.ToValidUTF8(s, "?") } // as all that an API server passes on
		c := usualClusterOf()
		c.Name, c.Service.Host, c.SNI, c.Subset, c.Port.Number, c.Identities = valid(host), valid(host), valid(subset+host), valid(subset), port, []string{valid(identity)}
		b := &builder{shared: shared{Settings: secured()}, trunks: map[any][]byte{}}
		if got, want := writtenCluster(t, b, c); !equal(got, want) {
			t.Errorf("%v\nwant %v", got, want)
		}
		s := usualMesh()
		h := usualOf(s)
		h.Name, h.Domains = valid(host), []string{valid(host), valid(identity)}
		h.Routes[0].Action.(*model.Forward).Destinations[0].Cluster = valid(subset)
		if got, want := written(t, s, h); !proto.Equal(got, want) {
			t.Errorf("%v\nwant %v", got, want)
		}
	})
}
