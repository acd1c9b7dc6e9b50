package compile

import (
	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// maxTable bounds a maglev table; Envoy refuses more.
const maxTable = 5_000_011

// loadBalancer reads trafficPolicy.loadBalancer; nil is the default.
//
// Source: istio.io/api networking/v1alpha3, message LoadBalancerSettings.
func (t traffic) loadBalancer(in *networking.LoadBalancerSettings, at diag.Path) *model.LoadBalancer {
	if in == nil {
		return nil
	}
	out := &model.LoadBalancer{Warmup: t.warmup(in, at), Locality: localityOf(in.GetZoneAwareLbSetting(), in.GetLocalityLbSetting(), at, t.d)}
	switch in.GetSimple() {
	case networking.LoadBalancerSettings_ROUND_ROBIN:
		out.Algorithm = model.LBRoundRobin
	case networking.LoadBalancerSettings_RANDOM:
		out.Algorithm = model.LBRandom
	case networking.LoadBalancerSettings_PASSTHROUGH:
		out.Algorithm = model.LBPassthrough
	case networking.LoadBalancerSettings_LEAST_REQUEST:
		out.Algorithm = model.LBLeastRequest
	case networking.LoadBalancerSettings_LEAST_CONN: //nolint:staticcheck // still in the API
		out.Algorithm = model.LBLeastRequest
		t.d.Add(diag.OldField, at.Field("simple"), "LEAST_REQUEST replaces LEAST_CONN")
	}
	if h := in.GetConsistentHash(); h != nil {
		if out.Hash = t.hash(h, at.Field("consistentHash")); out.Hash != nil {
			out.Algorithm = model.LBHash
		}
	}
	if out.Warmup != nil && !warms(out.Algorithm) {
		t.d.Add(diag.NoEffect, at.Field("warmup"), "warmup works with ROUND_ROBIN and LEAST_REQUEST only")
		out.Warmup = nil
	}
	return out
}

// warms reports whether an algorithm, or what the default may be, has a warm-up.
func warms(a model.LBAlgorithm) bool {
	return a == model.LBDefault || a == model.LBRoundRobin || a == model.LBLeastRequest
}

// hash reads consistentHash; nil if nothing says what to hash.
func (t traffic) hash(in *networking.LoadBalancerSettings_ConsistentHashLB, at diag.Path) *model.ConsistentHash {
	out := &model.ConsistentHash{}
	ok := false
	switch k := in.GetHashKey().(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		out.Header = k.HttpHeaderName
		ok = checkHeaderName(k.HttpHeaderName, at.Field("httpHeaderName"), t.d)
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		if out.Query, ok = k.HttpQueryParameterName, k.HttpQueryParameterName != ""; !ok {
			t.d.Add(diag.Invalid, at.Field("httpQueryParameterName"), "the name is empty")
		}
	case *networking.LoadBalancerSettings_ConsistentHashLB_UseSourceIp:
		if out.SourceIP, ok = k.UseSourceIp, k.UseSourceIp; !ok {
			t.d.Add(diag.Invalid, at.Field("useSourceIp"), "false says nothing to hash; the default load balancer is in force")
		}
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		out.Cookie = t.cookie(k.HttpCookie, at.Field("httpCookie"))
		ok = out.Cookie != nil
	default:
		t.d.Add(diag.Invalid, at, "one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName must be set; the default load balancer is in force")
	}
	if !ok {
		return nil
	}
	t.hashTable(in, out, at)
	return out
}

// hashTable reads ringHash, maglev and the deprecated minimumRingSize.
func (t traffic) hashTable(in *networking.LoadBalancerSettings_ConsistentHashLB, out *model.ConsistentHash, at diag.Path) {
	switch a := in.GetHashAlgorithm().(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_RingHash_:
		out.MinRingSize = t.ringSize(a.RingHash.GetMinimumRingSize(), at.Field("ringHash.minimumRingSize"))
	case *networking.LoadBalancerSettings_ConsistentHashLB_Maglev:
		out.Maglev, out.TableSize = true, a.Maglev.GetTableSize()
		if n := out.TableSize; n != 0 && (n > maxTable || !prime(n)) {
			t.d.Add(diag.Invalid, at.Field("maglev.tableSize"), "must be a prime up to %d, got %d; the default is in force", maxTable, n)
			out.TableSize = 0
		}
	default:
		if n := in.GetMinimumRingSize(); n != 0 { //nolint:staticcheck // still in the API
			t.d.Add(diag.OldField, at.Field("minimumRingSize"), "ringHash.minimumRingSize replaces it")
			out.MinRingSize = t.ringSize(n, at.Field("minimumRingSize"))
		}
	}
}

// ringSize: Envoy refuses rings of more than 8 Mi entries.
func (t traffic) ringSize(n uint64, at diag.Path) uint64 {
	if n > 8<<20 {
		t.d.Add(diag.Invalid, at, "must be at most %d, got %d; the default is in force", 8<<20, n)
		return 0
	}
	return n
}

func prime(n uint64) bool {
	for f := uint64(2); f*f <= n; f++ {
		if n%f == 0 {
			return false
		}
	}
	return n > 1
}

// cookie reads httpCookie. Without a ttl no cookie is made, only read.
func (t traffic) cookie(in *networking.LoadBalancerSettings_ConsistentHashLB_HTTPCookie, at diag.Path) *model.Cookie {
	if !checkHeaderName(in.GetName(), at.Field("name"), t.d) || !checkText(in.GetPath(), at.Field("path"), t.d) {
		return nil
	}
	out := &model.Cookie{Name: in.GetName(), Path: in.GetPath()}
	if ttl, ok := notNegative(in.GetTtl(), at.Field("ttl"), t.d); ok {
		out.TTL = &ttl
	}
	seen := map[string]bool{}
	for i, a := range in.GetAttributes() {
		at := at.Field("attributes").Index(i)
		switch {
		case !checkHeaderName(a.GetName(), at.Field("name"), t.d) || !checkText(a.GetValue(), at.Field("value"), t.d):
		case seen[a.GetName()]:
			t.d.Add(diag.Duplicate, at.Field("name"), "attribute %q stands twice; the first is in force", a.GetName())
		default:
			seen[a.GetName()] = true
			out.Attributes = append(out.Attributes, model.Header{Name: a.GetName(), Value: a.GetValue()})
		}
	}
	return out
}

// warmup reads warmup, or the deprecated warmupDurationSecs.
func (t traffic) warmup(in *networking.LoadBalancerSettings, at diag.Path) *model.Warmup {
	w := in.GetWarmup()
	if old := in.GetWarmupDurationSecs(); w == nil && old != nil { //nolint:staticcheck // still in the API
		at := at.Field("warmupDurationSecs")
		t.d.Add(diag.OldField, at, "warmup.duration replaces it")
		if v, ok := positive(old, at, t.d); ok {
			return &model.Warmup{Duration: v, MinPercent: 10, Aggression: 1}
		}
		return nil
	}
	if w == nil {
		return nil
	}
	at = at.Field("warmup")
	if w.GetDuration() == nil {
		t.d.Add(diag.Invalid, at.Field("duration"), "it must be set")
		return nil
	}
	out := &model.Warmup{MinPercent: 10, Aggression: 1}
	v, ok := positive(w.GetDuration(), at.Field("duration"), t.d)
	if out.Duration = v; !ok {
		return nil
	}
	if p := w.GetMinimumPercent(); p != nil {
		if n := p.GetValue(); n >= 0 && n <= 100 {
			out.MinPercent = n
		} else {
			t.d.Add(diag.Invalid, at.Field("minimumPercent"), "must be 0..100, got %v; 10 is in force", n)
		}
	}
	if a := w.GetAggression(); a != nil {
		if n := a.GetValue(); n > 0 && n <= 1e6 {
			out.Aggression = n
		} else {
			t.d.Add(diag.Invalid, at.Field("aggression"), "must be above 0, got %v; 1 is in force", n)
		}
	}
	return out
}
