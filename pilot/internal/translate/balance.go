package translate

import (
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	xtype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// balance sets the load-balancing policy; nil is LEAST_REQUEST, as in Istio.
func (b *builder) balance(out *cluster.Cluster, lb *model.LoadBalancer) {
	if lb == nil {
		lb = &model.LoadBalancer{}
	}
	switch lb.Algorithm {
	case model.LBRoundRobin:
		out.LbPolicy = cluster.Cluster_ROUND_ROBIN
		if lb.Warmup != nil {
			out.LbConfig = &cluster.Cluster_RoundRobinLbConfig_{RoundRobinLbConfig: &cluster.Cluster_RoundRobinLbConfig{SlowStartConfig: slowStart(lb.Warmup)}}
		}
	case model.LBRandom:
		out.LbPolicy = cluster.Cluster_RANDOM
	case model.LBHash:
		hashing(out, lb.Hash)
	case model.LBLatency:
		b.byLatency(out, lb.Warmup)
	default:
		out.LbPolicy = cluster.Cluster_LEAST_REQUEST
		if lb.Warmup != nil {
			out.LbConfig = &cluster.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &cluster.Cluster_LeastRequestLbConfig{SlowStartConfig: slowStart(lb.Warmup)}}
		}
	}
}

// slowStart is Istio's WarmupConfiguration.
func slowStart(w *model.Warmup) *cluster.Cluster_SlowStartConfig {
	s := &cluster.Cluster_SlowStartConfig{SlowStartWindow: durationpb.New(w.Duration), MinWeightPercent: &xtype.Percent{Value: w.MinPercent}}
	if w.Aggression > 0 {
		s.Aggression = &core.RuntimeDouble{DefaultValue: w.Aggression, RuntimeKey: "weft.slow_start.aggression"}
	}
	return s
}

// hashing sets a ring hash (Istio's default, of 1,024 entries) or Maglev.
func hashing(out *cluster.Cluster, h *model.ConsistentHash) {
	if h != nil && h.Maglev {
		out.LbPolicy = cluster.Cluster_MAGLEV
		if h.TableSize > 0 {
			out.LbConfig = &cluster.Cluster_MaglevLbConfig_{MaglevLbConfig: &cluster.Cluster_MaglevLbConfig{TableSize: wrapperspb.UInt64(h.TableSize)}}
		}
		return
	}
	size := uint64(1024)
	if h != nil && h.MinRingSize > 0 {
		size = h.MinRingSize
	}
	out.LbPolicy = cluster.Cluster_RING_HASH
	out.LbConfig = &cluster.Cluster_RingHashLbConfig_{RingHashLbConfig: &cluster.Cluster_RingHashLbConfig{MinimumRingSize: wrapperspb.UInt64(size)}}
}
