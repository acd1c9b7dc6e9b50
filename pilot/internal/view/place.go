package view

import (
	"maps"
	"slices"

	"github.com/weftmesh/weft/internal/model"
)

// failoverKey stands for the labels that the mesh's own locality setting asks
// clients for: some rule has outlier detection, and no setting of its own.
const failoverKey = "=failover"

// placeKeys are the labels that a rule asks clients for, as clientKeys.
func placeKeys(p *model.Policy) []string {
	parts := []model.PortTraffic{p.Traffic}
	for i := range p.Subsets {
		parts = append(parts, p.Subsets[i].PortTraffic)
	}
	var rules []*model.LocalityPolicy
	failover, mesh := false, false
	for _, part := range parts {
		all := []model.Traffic{part.Traffic}
		for i := range part.Ports {
			all = append(all, part.Ports[i].Traffic)
		}
		for _, t := range all {
			failover = failover || t.Outlier != nil
			if t.LB != nil && t.LB.Locality != nil {
				rules = append(rules, t.LB.Locality)
			} else {
				mesh = true
			}
		}
	}
	var keys []string
	if failover && mesh {
		keys = append(keys, failoverKey)
	}
	for _, rule := range rules {
		keys = append(keys, rule.Needs(failover)...)
	}
	return clientKeys(p.ExportTo, p.Namespace, keys)
}

// clientKeys are "namespace/key" for each namespace that an object is exported
// to; "/key" where that is all of them.
func clientKeys(to model.Visibility, owner string, keys []string) (out []string) {
	namespaces := []string{""}
	switch {
	case to.None:
		return nil
	case to.Restricted:
		namespaces = slices.Clone(to.Namespaces)
		if to.Private {
			namespaces = append(namespaces, owner)
		}
	}
	for _, ns := range namespaces {
		for _, key := range keys {
			if name := ns + "/" + key; !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// addPlace adds to the labels of a client class those that say where the proxy
// is, as far as some rule, Service or the mesh asks for them.
func (c *Classifier) addPlace(to map[string]string, ns string, labels, place map[string]string) {
	asked := func(key string) bool {
		return has(&c.places.Cell, "/"+key) || has(&c.places.Cell, ns+"/"+key) || has(&c.wishes.Cell, "/"+key) || has(&c.wishes.Cell, ns+"/"+key)
	}
	var mesh []string
	if c.mesh != nil {
		own := c.mesh.Settings.Locality
		if mesh = own.Needs(false); asked(failoverKey) {
			if own == nil {
				own = defaultLocality
			}
			mesh = append(mesh, own.Needs(true)...)
		}
	}
	for _, all := range []map[string]string{labels, place} {
		maps.Copy(to, filter(all, func(key string) bool { return asked(key) || slices.Contains(mesh, key) }))
	}
}

func (c *Classifier) clusterID() string {
	if c.mesh == nil {
		return ""
	}
	return c.mesh.Settings.ClusterID
}
