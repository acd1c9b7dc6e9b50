package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/test/envoy"
)

// clientHost is where the client's proxy listens, in hostsNetwork.
const clientHost = "250"

// rig is a client with its proxy, and hosts with theirs.
type rig struct {
	client  *client
	proxy   *envoy.Proxy
	hosts   []*host
	proxies []*envoy.Proxy
	sent    []*discovery.Resource // to the client's proxy
}

// startRig starts n hosts. perTry is a time-out for one try, with retries; ""
// is neither.
func startRig(ctx context.Context, n int, perTry string) (_ *rig, err error) {
	binary, err := envoybin.Ensure(ctx, func(string) {})
	if err != nil {
		return nil, err
	}
	keys, err := envoy.NewKeys()
	if err != nil {
		return nil, err
	}
	r := &rig{client: newClient(hostsNetwork + clientHost), proxies: make([]*envoy.Proxy, n)}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	yaml := objects(n, perTry)
	var starts sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		address := fmt.Sprintf("%s%d", hostsNetwork, i+1)
		h, err := startHost(i, address)
		if err != nil {
			return nil, err
		}
		r.hosts = append(r.hosts, h)
		starts.Go(func() { r.proxies[i], errs[i] = startServer(ctx, binary, keys, yaml, i) })
	}
	starts.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	all, err := translated(yaml, model.Proxy{Sidecar: true, Namespace: "default", Proven: true})
	if err != nil {
		return nil, err
	}
	if r.sent, err = clientSide(all, hostsNetwork+clientHost); err != nil {
		return nil, err
	}
	r.proxy, err = envoy.Start(ctx, envoy.Options{Binary: binary, Resources: r.sent, Keys: keys, Placed: true})
	return r, err
}

func startServer(ctx context.Context, binary string, keys *envoy.Keys, yaml string, i int) (*envoy.Proxy, error) {
	all, err := translated(yaml, model.Proxy{
		Sidecar: true, Namespace: "default", Proven: true, Name: fmt.Sprintf("app-%d", i), ServiceAccount: "app", Labels: map[string]string{"app": "app"},
	})
	if err != nil {
		return nil, err
	}
	if all, err = serverSide(all, fmt.Sprintf("%s%d", hostsNetwork, i+1)); err != nil {
		return nil, err
	}
	return envoy.Start(ctx, envoy.Options{Binary: binary, Resources: all, Keys: keys, Placed: true, Identity: "spiffe://cluster.local/ns/default/sa/app"})
}

// endpoints gives a policy's service its first n hosts alone.
func (r *rig) endpoints(p policy, n int) error {
	next, err := envoy.Place(r.sent, func(m proto.Message) proto.Message {
		a, ok := m.(*endpoint.ClusterLoadAssignment)
		if !ok || !strings.HasSuffix(a.GetClusterName(), "||"+p.service+".default.svc.cluster.local") {
			return nil
		}
		for _, l := range a.GetEndpoints() {
			var kept []*endpoint.LbEndpoint
			for i := range n { // addresses are sorted as text: ".10" before ".2"
				for _, e := range l.GetLbEndpoints() {
					if e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress() == fmt.Sprintf("%s%d", hostsNetwork, i+1) {
						kept = append(kept, e)
					}
				}
			}
			l.LbEndpoints = kept
		}
		return a
	})
	if err != nil {
		return err
	}
	for _, res := range next {
		res.Version = fmt.Sprintf("%s of %d", res.GetVersion(), n)
	}
	return r.proxy.Send(next...)
}

func (r *rig) close() {
	for _, p := range append(r.proxies, r.proxy) {
		if p != nil {
			p.Close()
		}
	}
	for _, h := range r.hosts {
		_ = h.server.Close()
	}
}
