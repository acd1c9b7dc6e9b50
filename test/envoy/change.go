package envoy

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/simulate"
)

// Endpoints puts those of resources that are endpoints in place of what Envoy
// has, and waits until each cluster has as many. New ones get echo servers.
func (p *Proxy) Endpoints(ctx context.Context, resources []*discovery.Resource) error {
	want := map[string]int{}
	for _, r := range resources {
		a := &endpoint.ClusterLoadAssignment{}
		if r.GetResource().UnmarshalTo(a) != nil || p.ads.byType[r.GetResource().GetTypeUrl()][r.GetName()] == nil {
			continue
		}
		if err := moveEndpoints(a, a.GetClusterName(), p.echoes); err != nil {
			return err
		}
		moved := proto.CloneOf(r)
		var err error
		if moved.Resource, err = anypb.New(a); err != nil {
			return err
		}
		if err := p.ads.push(moved); err != nil {
			return err
		}
		for _, l := range a.GetEndpoints() {
			want[a.GetClusterName()] += len(l.GetLbEndpoints())
		}
	}
	return p.awaitEndpoints(ctx, want)
}

// Behave makes endpoints answer the proxy's own questions, which are health
// checks, as u says, until stop is called. Calls are answered as each says, but
// for what u says of connections, which holds for all.
func (p *Proxy) Behave(u simulate.Upstream) (stop func()) { return p.echoes.behave(u) }

func (p *Proxy) awaitEndpoints(ctx context.Context, want map[string]int) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		has, err := p.endpointCounts(ctx)
		if err != nil {
			return err
		}
		missing := ""
		for cluster, n := range want {
			if got, there := has[cluster]; there && got != n {
				missing = fmt.Sprintf("%s has %d endpoints, not %d", cluster, got, n)
			}
		}
		if missing == "" {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", missing, ctx.Err())
		}
	}
}

// endpointCounts is how many endpoints Envoy has, by cluster.
func (p *Proxy) endpointCounts(ctx context.Context) (map[string]int, error) {
	body, err := p.admin(ctx, "/clusters?format=json")
	if err != nil {
		return nil, err
	}
	var all struct {
		Clusters []struct {
			Name  string            `json:"name"`
			Hosts []json.RawMessage `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		return nil, fmt.Errorf("the admin interface's clusters: %w", err)
	}
	out := map[string]int{}
	for _, c := range all.Clusters {
		out[c.Name] = len(c.Hosts)
	}
	return out, nil
}
