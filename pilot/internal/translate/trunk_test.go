package translate

import (
	"testing"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/view"
	"github.com/weftmesh/weft/pilot/internal/view/meshtest"
)

// A cluster that shares its trunk with others is what it would be by itself.
func TestTrunk(t *testing.T) {
	sh := shared{Settings: &model.Settings{TrustDomain: "cluster.local", AutoMTLS: true, ConnectTimeout: 3 * time.Second}, class: class{Role: model.RoleOutbound}}
	kept := map[any][]byte{}
	for _, identities := range [][]string{nil, {"spiffe://cluster.local/ns/a/sa/b"}} {
		for _, name := range []string{"first", "second"} {
			c := &model.Cluster{Name: name, SNI: "sni." + name, Port: model.Port{Number: 80, Protocol: model.ProtocolHTTP}, Service: &model.Service{Host: name}, Identities: identities}
			got, gotTLS := opened(t, &builder{shared: sh, trunks: kept}, c)
			want, wantTLS := opened(t, &builder{shared: sh}, c)
			if len(got.GetTransportSocketMatches()) != 2 || !proto.Equal(got, want) {
				t.Errorf("%v\nwant %v", got, want)
			}
			if !proto.Equal(gotTLS, wantTLS) || gotTLS.GetSni() != c.SNI {
				t.Errorf("%v\nwant %v", gotTLS, wantTLS)
			}
		}
	}
	if len(kept) != 3 {
		t.Errorf("%d trunks, want those of clusters, of any peer and of named ones", len(kept))
	}
}

// opened gives a cluster as its reader sees it, and apart from it how it opens
// mesh mTLS.
func opened(t *testing.T, b *builder, c *model.Cluster) (*cluster.Cluster, *tls.UpstreamTlsContext) {
	t.Helper()
	body := b.cluster(c).body
	if len(b.errs) > 0 {
		t.Fatal(b.errs)
	}
	out, _ := rejoined(serialised(body), body).(*cluster.Cluster)
	socket := out.GetTransportSocketMatches()[0].GetTransportSocket()
	context := &tls.UpstreamTlsContext{}
	if err := socket.GetTypedConfig().UnmarshalTo(context); err != nil {
		t.Fatal(err)
	}
	socket.ConfigType = nil
	return out, context
}

// What the settings say anew is in every cluster.
func TestTrunkFollowsSettings(t *testing.T) {
	mesh := meshtest.New().Service(meshtest.Service("reviews", "default", "10.0.0.1", meshtest.Port(80, model.ProtocolHTTP)))
	tr := New()
	for _, timeout := range []time.Duration{3 * time.Second, 5 * time.Second} {
		mesh.Settings(func(s *model.Settings) { s.ConnectTimeout = timeout })
		for name, r := range tr.Snapshot(view.Of(mesh.Model(), meshtest.Outbound)).Of(snapshot.Cluster).All() {
			c := &cluster.Cluster{}
			if err := proto.Unmarshal(r.Body, c); err != nil {
				t.Fatal(err)
			}
			if got := c.GetConnectTimeout().AsDuration(); got != timeout {
				t.Errorf("%s: %v, want %v", name, got, timeout)
			}
		}
	}
}
