package compile

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"

	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// distributionAnnotation asks for what spec.trafficDistribution does, in
// clusters that do not have that field.
const distributionAnnotation = "networking.istio.io/traffic-distribution"

// compileLocality reads a localityLbSetting; nil stays nil.
//
// Source: istio.io/api networking/v1alpha3, LocalityLoadBalancerSetting.
func compileLocality(in *networking.LocalityLoadBalancerSetting, at diag.Path, d *diag.List) *model.LocalityPolicy {
	if in == nil {
		return nil
	}
	if off(in.GetEnabled()) {
		return &model.LocalityPolicy{Off: true}
	}
	out := &model.LocalityPolicy{Distribute: distributions(in.GetDistribute(), at.Field("distribute"), d)}
	failover, priority := in.GetFailover(), in.GetFailoverPriority()
	if len(in.GetDistribute()) > 0 {
		if len(failover) > 0 {
			d.Add(diag.NoEffect, at.Field("failover"), "distribute is in force in its place; only one of them can be set")
		}
		if len(priority) > 0 {
			d.Add(diag.NoEffect, at.Field("failoverPriority"), "distribute is in force in its place; only one of them can be set")
		}
		return out
	}
	out.Failover = failovers(failover, at.Field("failover"), d)
	out.Priority = priorities(priority, at.Field("failoverPriority"), d)
	return out
}

func off(enabled *wrapperspb.BoolValue) bool { return enabled != nil && !enabled.GetValue() }

// distributions reads distribute. An entry that is wrong is left out, whole:
// half of it would send too much to the rest.
func distributions(in []*networking.LocalityLoadBalancerSetting_Distribute, at diag.Path, d *diag.List) (out []model.Distribute) {
	var before []string
	for i, entry := range in {
		at := at.Index(i)
		if !checkLocality(entry.GetFrom(), before, at.Field("from"), d) {
			continue
		}
		before = append(before, entry.GetFrom())
		if to, ok := shares(entry.GetTo(), at.Field("to"), d); ok {
			out = append(out, model.Distribute{From: entry.GetFrom(), To: to})
		}
	}
	return out
}

// shares reads a distribution's weights, which must sum to 100.
func shares(in map[string]uint32, at diag.Path, d *diag.List) (out []model.LocalityShare, ok bool) {
	ok = true
	sum := uint64(0)
	var before []string
	for _, to := range slices.SortedFunc(maps.Keys(in), cmp.Compare) {
		weight := in[to]
		sum += uint64(weight)
		if !checkLocality(to, before, at.Key(to), d) {
			ok = false
			continue
		}
		before = append(before, to)
		if weight == 0 || weight > 100 {
			d.Add(diag.Invalid, at.Key(to), "must be 1..100, got %d; a locality that shall get nothing is left out", weight)
			ok = false
			continue
		}
		out = append(out, model.LocalityShare{To: to, Weight: weight})
	}
	if ok && sum != 100 {
		d.Add(diag.Invalid, at, "the weights sum to %d, not to 100; the entry is not in force", sum)
		ok = false
	}
	return out, ok
}

// checkLocality: "REGION/ZONE/SUBZONE" that may end early, or in "*", and that
// takes no place which one before it takes.
func checkLocality(text string, before []string, at diag.Path, d *diag.List) bool {
	parts := strings.Split(text, "/")
	if len(parts) > 3 || slices.Contains(parts, "") {
		d.Add(diag.Invalid, at, `%q is not "REGION/ZONE/SUBZONE", nor the beginning of one`, text)
		return false
	}
	if n := strings.Count(text, "*"); n > 1 || n == 1 && parts[len(parts)-1] != "*" {
		d.Add(diag.Invalid, at, `%q: "*" can only stand for the last part`, text)
		return false
	}
	for _, other := range before {
		if overlap(parts, strings.Split(other, "/")) {
			d.Add(diag.Invalid, at, "%q overlaps with %q; the first is in force", text, other)
			return false
		}
	}
	return true
}

func overlap(a, b []string) bool {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] && a[i] != "*" && b[i] != "*" {
			return false
		}
	}
	return true
}

// fromTo is an entry of a failover.
type fromTo interface {
	GetFrom() string
	GetTo() string
}

// failovers reads failover, which names regions.
func failovers[T fromTo](in []T, at diag.Path, d *diag.List) (out []model.Failover) {
	region := func(name string, at diag.Path) bool {
		if name == "" || strings.ContainsAny(name, "/*") {
			d.Add(diag.Invalid, at, `%q is not a region: neither empty, nor with "/" or "*"`, name)
			return false
		}
		return true
	}
	for i, f := range in {
		at := at.Index(i)
		from, to := region(f.GetFrom(), at.Field("from")), region(f.GetTo(), at.Field("to"))
		switch {
		case !from || !to:
		case f.GetFrom() == f.GetTo():
			d.Add(diag.Invalid, at.Field("to"), "%q cannot take over from itself", f.GetTo())
		case slices.ContainsFunc(out, func(o model.Failover) bool { return o.From == f.GetFrom() }):
			d.Add(diag.Duplicate, at.Field("from"), "region %q stands twice; the first is in force", f.GetFrom())
		default:
			out = append(out, model.Failover{From: f.GetFrom(), To: f.GetTo()})
		}
	}
	return out
}

// priorities reads failoverPriority: "KEY" or "KEY=VALUE".
func priorities(in []string, at diag.Path, d *diag.List) (out []string) {
	seen := map[string]bool{}
	for i, label := range in {
		at := at.Index(i)
		key, value, _ := strings.Cut(label, "=")
		switch {
		case key == "" || strings.ContainsAny(label, ", \t\r\n\x00") || strings.Contains(value, "="):
			d.Add(diag.Invalid, at, "%q is neither the key of a label nor KEY=VALUE", label)
		case seen[key]:
			d.Add(diag.Duplicate, at, "label %q stands twice; the first is in force", key)
		default:
			seen[key] = true
			out = append(out, label)
		}
	}
	return out
}

// trafficDistribution reads a Service's wish to be called from near by.
//
// Source: Kubernetes core/v1 ServiceSpec.trafficDistribution; Istio's
// annotation of the same meaning. It needs no outlier detection.
func trafficDistribution(svc *core.Service, annotations map[string]string, d *diag.List) *model.LocalityPolicy {
	value, at := "", diag.Path("spec.trafficDistribution")
	if svc.Spec.TrafficDistribution != nil {
		value = *svc.Spec.TrafficDistribution
	} else if v, ok := annotations[distributionAnnotation]; ok {
		value, at = v, diag.Path("metadata.annotations").Key(distributionAnnotation)
	}
	labels := []string{model.LabelNetwork, model.LabelRegion, model.LabelZone}
	switch {
	case value == "" || strings.EqualFold(value, "any"):
		return nil
	case strings.EqualFold(value, core.ServiceTrafficDistributionPreferClose), strings.EqualFold(value, core.ServiceTrafficDistributionPreferSameZone):
	case strings.EqualFold(value, core.ServiceTrafficDistributionPreferSameNode):
		labels = append(labels, model.LabelSubZone, model.LabelNode)
	default:
		d.Add(diag.Invalid, at, "%q is none of PreferClose, PreferSameZone and PreferSameNode", value)
		return nil
	}
	return &model.LocalityPolicy{Priority: labels, Always: true}
}
