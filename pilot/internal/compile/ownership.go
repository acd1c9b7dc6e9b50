package compile

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// Settings of host ownership: on MeshConfig's object how strict it is, on a
// Namespace the hosts that its objects may claim beside its own services.
// See docs/decisions/021-who-owns-a-host.md.
const (
	ownershipSetting = "weft.mesh/host-ownership"
	grantSetting     = "weft.mesh/hosts"
)

// ownership reads how strict the mesh is. A word that is not understood was
// meant to protect something.
func ownership(o *config.Object, d *diag.List) model.Ownership {
	return chosen(o, ownershipSetting, []model.Ownership{model.OwnershipOff, model.OwnershipAudit, model.OwnershipEnforce}, model.OwnershipAudit, d)
}

// granted reads the hosts that a Namespace may claim.
func granted(o *config.Object, d *diag.List) (out []string) {
	text, ok := o.Annotations[grantSetting]
	if !ok {
		return nil
	}
	at := diag.Path("metadata.annotations").Key(grantSetting)
	for host := range strings.SplitSeq(text, ",") {
		if host = strings.ToLower(strings.TrimSpace(host)); host != "" && checkHost(host, at, d) {
			out = append(out, host)
		}
	}
	return out
}

// mayClaim reports whether an object of namespace may say for others what
// becomes of host; where it may not, d says so. What an object exports to its
// own namespace alone claims nothing.
func (s scope) mayClaim(namespace, host string, to model.Visibility, at diag.Path, d *diag.List) bool {
	settings := s.settings()
	if settings.HostOwnership == model.OwnershipOff || namespace == settings.RootNamespace || keptTo(namespace, to) || s.owns(namespace, host) {
		return true
	}
	whose := "no namespace but those that have it in " + grantSetting
	if owner := ownerOf(host, settings.ClusterDomain); owner != "" {
		whose = "namespace " + owner
	}
	if settings.HostOwnership == model.OwnershipAudit {
		d.Add(diag.HostOfOthersAudit, at, "host %q belongs to %s; with %s: enforce it would have no effect", host, whose, ownershipSetting)
		return true
	}
	d.Add(diag.HostOfOthers, at, "host %q belongs to %s; it has no effect here", host, whose)
	return false
}

// keptTo reports whether nobody outside namespace sees what is exported so.
func keptTo(namespace string, v model.Visibility) bool {
	return v.None || v.Restricted && !slices.ContainsFunc(v.Namespaces, func(ns string) bool { return ns != namespace })
}

// owns reports whether a host, or all that a wildcard stands for, is the
// namespace's own, or was granted to it.
func (s scope) owns(namespace, host string) bool {
	if ownerOf(host, s.settings().ClusterDomain) == namespace {
		return true
	}
	n, ok := memo.Get(s.r, &s.c.namespaces.values.Cell, namespace)
	return ok && slices.ContainsFunc(n.hosts, func(grant string) bool { return hostname.Covers(grant, host) })
}

// ownerOf is the namespace of the services that a host stands for: that of
// "NAME.NAMESPACE.svc.DOMAIN" and all below it; "" if it is no service's name.
func ownerOf(host, domain string) string {
	rest, ok := strings.CutSuffix(host, ".svc."+domain)
	if !ok {
		return ""
	}
	labels := strings.Split(rest, ".")
	if owner := labels[len(labels)-1]; len(labels) > 1 && !strings.HasPrefix(owner, "*") {
		return owner
	}
	return ""
}
