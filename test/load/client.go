package main

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

const prefix = "type.googleapis.com/envoy.config."

// The types that a sidecar's Envoy subscribes to.
const (
	cds  = prefix + "cluster.v3.Cluster"
	eds  = prefix + "endpoint.v3.ClusterLoadAssignment"
	lds  = prefix + "listener.v3.Listener"
	rds  = prefix + "route.v3.RouteConfiguration"
	vhds = prefix + "route.v3.VirtualHost"
)

// fleet is all clients.
type fleet struct {
	clients []*client
	bytes   atomic.Int64
	failed  chan error
	parsed  sync.Map // hash of a resource to the names in it, so that clients cost little
	seed    maphash.Seed
}

// client is one delta-ADS subscriber.
type client struct {
	fleet   *fleet
	id      int
	apps    int // as options.apps
	stream  discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	names   map[string]map[string]bool // subscribed, by type
	pending map[string]bool            // types whose first answer is awaited
	synced  chan struct{}
	inSync  bool
	search  atomic.Pointer[search]
}

// search is a text that a change brings to every client.
type search struct {
	text []byte
	hit  func(id int)
}

func connectAll(ctx context.Context, o options, address string) (*fleet, error) {
	f := &fleet{failed: make(chan error, o.proxies), seed: maphash.MakeSeed()}
	for i := range o.proxies {
		c := &client{fleet: f, id: i, apps: o.apps, names: map[string]map[string]bool{}, pending: map[string]bool{}, synced: make(chan struct{})}
		f.clients = append(f.clients, c)
		go func() {
			if err := c.run(ctx, address); err != nil {
				f.failed <- fmt.Errorf("client %d: %w", i, err)
			}
		}()
	}
	limit := time.After(o.timeout)
	for _, c := range f.clients {
		select {
		case <-c.synced:
		case err := <-f.failed:
			return f, err
		case <-limit:
			return f, fmt.Errorf("client %d was not in sync after %v", c.id, o.timeout)
		}
	}
	return f, nil
}

// measure makes changes one after another and times each from just before it
// is made until each client holds it. next prepares the k-th change.
func (f *fleet) measure(ctx context.Context, o options, p *process, next func(k int) (string, func() error)) (kind, error) {
	var all, last []float64
	cpu, sent := p.usage().cpu, f.bytes.Load()
	for k := range o.changes {
		text, apply := next(k)
		rest(ctx, o.pause)
		took, err := f.await(o, text, apply)
		if err != nil {
			return kind{}, fmt.Errorf("change %d: %w", k, err)
		}
		all, last = append(all, took...), append(last, slices.Max(took))
	}
	n := float64(o.changes)
	return kind{
		P50: quantile(all, .5), P99: quantile(all, .99), LastP50: quantile(last, .5),
		CPU: (p.usage().cpu - cpu) * 1000 / n, KB: float64(f.bytes.Load()-sent) / 1e3 / n,
	}, nil
}

// await makes one change and returns when each client held it, in ms.
func (f *fleet) await(o options, text string, apply func() error) ([]float64, error) {
	hits := make(chan float64, len(f.clients))
	seen := make([]atomic.Bool, len(f.clients))
	var start time.Time
	s := &search{text: []byte(text), hit: func(id int) {
		if !seen[id].Swap(true) {
			hits <- float64(time.Since(start).Microseconds()) / 1000
		}
	}}
	start = time.Now()
	for _, c := range f.clients {
		c.search.Store(s)
	}
	start = time.Now()
	if err := apply(); err != nil {
		return nil, err
	}
	limit := time.After(o.timeout)
	var took []float64
	for range f.clients {
		select {
		case ms := <-hits:
			took = append(took, ms)
		case err := <-f.failed:
			return nil, err
		case <-limit:
			return nil, fmt.Errorf("%q reached %d of %d clients in %v", text, len(took), len(f.clients), o.timeout)
		}
	}
	return took, nil
}

func quantile(v []float64, p float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[min(len(s)-1, int(p*float64(len(s))))]
}

func (c *client) app() string {
	if c.apps == 0 {
		return "bench-client"
	}
	return service(c.id % c.apps)
}

func (c *client) node() *core.Node {
	ip := fmt.Sprintf("10.200.%d.%d", c.id/250, 1+c.id%250)
	meta, err := structpb.NewStruct(map[string]any{
		"NAMESPACE": namespace, "CLUSTER_ID": "Kubernetes", "SERVICE_ACCOUNT": "default", "INSTANCE_IPS": ip,
		"LABELS": map[string]any{"app": c.app()}, "NAME": fmt.Sprintf("client-%d", c.id),
	})
	if err != nil {
		panic(err) // of constants
	}
	return &core.Node{Id: fmt.Sprintf("sidecar~%s~client-%d.%s~%[3]s.svc.cluster.local", ip, c.id, namespace), Cluster: "bench-client." + namespace, Metadata: meta}
}

func (c *client) run(ctx context.Context, address string) error {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(512<<20)))
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.stream, err = discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx); err != nil {
		return err
	}
	c.pending[cds], c.pending[lds] = true, true
	if err := c.stream.Send(&discovery.DeltaDiscoveryRequest{Node: c.node(), TypeUrl: cds}); err != nil {
		return err
	}
	if err := c.stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: lds}); err != nil {
		return err
	}
	for {
		m, err := c.stream.Recv()
		if err != nil {
			return err
		}
		if err := c.take(m); err != nil {
			return err
		}
	}
}

// take acknowledges an answer, looks for the text of the change, and
// subscribes to what the answer names.
func (c *client) take(m *discovery.DeltaDiscoveryResponse) error {
	c.fleet.bytes.Add(int64(proto.Size(m)))
	if err := c.stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: m.TypeUrl, ResponseNonce: m.Nonce}); err != nil {
		return err
	}
	next, parse := dependents(m.TypeUrl)
	var want []string
	for _, r := range m.Resources {
		if s := c.search.Load(); s != nil && bytes.Contains(r.GetResource().GetValue(), s.text) {
			s.hit(c.id)
		}
		if parse != nil {
			want = append(want, c.fleet.namesIn(r.GetResource().GetValue(), parse)...)
		}
	}
	if err := c.subscribe(next, want); err != nil {
		return err
	}
	delete(c.pending, m.TypeUrl)
	if len(c.pending) == 0 && len(c.names[eds]) > 0 && len(c.names[rds]) > 0 && !c.inSync {
		c.inSync = true
		close(c.synced)
	}
	return nil
}

// dependents says which type is named in resources of a type, and how.
func dependents(typeURL string) (next string, parse func([]byte) []string) {
	switch typeURL {
	case cds:
		return eds, edsNames
	case lds:
		return rds, rdsNames
	case rds:
		return vhds, vhdsNames
	}
	return "", nil
}

// subscribe asks for names that are new. Virtual hosts are asked for once,
// without names, as Envoy does.
func (c *client) subscribe(typeURL string, want []string) error {
	var add []string
	for _, w := range want {
		if c.names[typeURL] == nil {
			c.names[typeURL] = map[string]bool{}
			c.pending[typeURL] = true
		}
		if !c.names[typeURL][w] {
			c.names[typeURL][w] = true
			add = append(add, w)
		}
	}
	if len(add) == 0 || typeURL == vhds && len(add) < len(c.names[vhds]) {
		return nil
	}
	if typeURL == vhds {
		add = nil
	}
	return c.stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: add})
}

func (f *fleet) namesIn(body []byte, parse func([]byte) []string) []string {
	hash := maphash.Bytes(f.seed, body)
	if v, ok := f.parsed.Load(hash); ok {
		return v.([]string)
	}
	v := parse(body)
	f.parsed.Store(hash, v)
	return v
}

func edsNames(body []byte) []string {
	var c cluster.Cluster
	if proto.Unmarshal(body, &c) != nil || c.GetType() != cluster.Cluster_EDS {
		return nil
	}
	if name := c.GetEdsClusterConfig().GetServiceName(); name != "" {
		return []string{name}
	}
	return []string{c.GetName()}
}

func rdsNames(body []byte) (out []string) {
	var l listener.Listener
	if proto.Unmarshal(body, &l) != nil {
		return nil
	}
	for _, chain := range append(l.GetFilterChains(), l.GetDefaultFilterChain()) {
		for _, filter := range chain.GetFilters() {
			var h hcm.HttpConnectionManager
			if strings.HasSuffix(filter.GetTypedConfig().GetTypeUrl(), ".HttpConnectionManager") && filter.GetTypedConfig().UnmarshalTo(&h) == nil {
				if name := h.GetRds().GetRouteConfigName(); name != "" {
					out = append(out, name)
				}
			}
		}
	}
	return out
}

// vhdsNames is the table's own name if it takes its hosts by VHDS.
func vhdsNames(body []byte) []string {
	var rc route.RouteConfiguration
	if proto.Unmarshal(body, &rc) != nil || rc.GetVhds() == nil {
		return nil
	}
	return []string{rc.GetName()}
}
