package compile

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// compileZones reads a zoneAwareLbSetting; nil stays nil.
//
// Source: istio.io/api networking/v1alpha3, ZoneAwareLoadBalancerSetting.
func compileZones(in *networking.ZoneAwareLoadBalancerSetting, at diag.Path, d *diag.List) *model.LocalityPolicy {
	if in == nil {
		return nil
	}
	if off(in.GetEnabled()) {
		return &model.LocalityPolicy{Off: true}
	}
	out := &model.LocalityPolicy{Always: true, Zones: &model.ZoneAware{}}
	if size := in.GetMinClusterSize(); size != nil {
		if out.Zones.MinHosts = size.GetValue(); size.GetValue() == 0 {
			d.Add(diag.Invalid, at.Field("minClusterSize"), "must be at least 1, got 0; 6 is in force")
		}
	}
	var rules []*networking.LocalityLoadBalancerSetting_Failover
	for _, f := range in.GetFailover() {
		rules = append(rules, &networking.LocalityLoadBalancerSetting_Failover{From: f.GetFrom(), To: f.GetTo()})
	}
	out.Failover = failovers(rules, at.Field("failover"), d)
	for _, label := range priorities(in.GetFailoverPriority(), at.Field("failoverPriority"), d) {
		key, _, _ := strings.Cut(label, "=")
		if slices.Contains([]string{model.LabelRegion, model.LabelZone, model.LabelSubZone}, key) {
			d.Add(diag.Invalid, at.Field("failoverPriority"), "%s is always heeded here; it is left out", key)
			continue
		}
		out.Priority = append(out.Priority, label)
	}
	return out
}

// localityOf reads the one of the two settings that is in force.
//
// Source: istio.io/api networking/v1alpha3, LoadBalancerSettings; mesh/v1alpha1,
// MeshConfig.locality_lb_setting.
func localityOf(zones *networking.ZoneAwareLoadBalancerSetting, places *networking.LocalityLoadBalancerSetting, at diag.Path, d *diag.List) *model.LocalityPolicy {
	if zones == nil {
		return compileLocality(places, at.Field("localityLbSetting"), d)
	}
	if places != nil {
		d.Add(diag.NoEffect, at.Field("localityLbSetting"), "zoneAwareLbSetting is in force in its place; only one of them can be set")
	}
	return compileZones(zones, at.Field("zoneAwareLbSetting"), d)
}
