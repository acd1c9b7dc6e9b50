package pilot

import (
	"testing"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/xds"
)

// TestSyncOfProxylessProcesses: the streams of a process are one line, which is
// in sync where all are; a server that asks for listeners alone is listed too.
func TestSyncOfProxylessProcesses(t *testing.T) {
	stream := func(pod string, types ...xds.TypeState) xds.StreamState {
		return xds.StreamState{Proxy: model.Proxy{Name: pod, Namespace: "shop", Sidecar: true, Proxyless: true}, Types: types}
	}
	got := syncz([]xds.StreamState{
		stream("client", xds.TypeState{Type: snapshot.Listener, Sent: "1", Synced: true}, xds.TypeState{Type: snapshot.Cluster, Sent: "2", Synced: true}),
		stream("client", xds.TypeState{Type: snapshot.Listener, Sent: "3", Synced: false}),
		stream("client", xds.TypeState{Type: snapshot.Listener, Sent: "4", Synced: true}),
		stream("server", xds.TypeState{Type: snapshot.Listener, Sent: "1", Synced: true}),
		{Proxy: model.Proxy{Name: "names", Namespace: "shop", Sidecar: true}},
	})
	if len(got) != 2 {
		t.Fatalf("got %+v", got)
	}
	if c := got[0]; c.Proxy != "client.shop" || c.ListenerSent != "3" || c.ListenerAcked != "" || c.ClusterAcked != "2" {
		t.Errorf("client: %+v", c)
	}
	if s := got[1]; s.Proxy != "server.shop" || s.ListenerAcked != "1" || s.ClusterSent != "" {
		t.Errorf("server: %+v", s)
	}
}
