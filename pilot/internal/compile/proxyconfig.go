package compile

import (
	"maps"
	"slices"
	"strings"

	networkingbeta "istio.io/api/networking/v1beta1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
)

// proxyLevel is the place of one ProxyConfig. Injector and local mesh put it in
// force, when a pod starts; the pilot says what is wrong with it.
type proxyLevel struct {
	namespace, name, rank string
	selecting             bool
}

// compileProxyConfig checks one ProxyConfig.
//
// Source: istio.io/api networking/v1beta1, message ProxyConfig.
func compileProxyConfig(o *config.Object, _ scope, d *diag.List) *proxyLevel {
	in, ok := o.Spec.(*networkingbeta.ProxyConfig)
	if !ok {
		return nil
	}
	out := &proxyLevel{namespace: o.Namespace, name: o.Name, rank: rank(o), selecting: len(in.GetSelector().GetMatchLabels()) > 0}
	if n := in.GetConcurrency(); n != nil && n.GetValue() < 0 {
		d.Add(diag.Invalid, "spec.concurrency", "must be 0 (one for each CPU) or more, got %d", n.GetValue())
	}
	if t := in.GetImage().GetImageType(); !slices.Contains([]string{"", "default", "distroless"}, t) {
		d.Add(diag.Invalid, "spec.image.imageType", "%q: there is one image, default, without a shell; pods that this selects would be refused", t)
	}
	for _, name := range slices.Sorted(maps.Keys(in.GetEnvironmentVariables())) {
		at := diag.Path("spec.environmentVariables").Key(name)
		if name == "" || strings.ContainsAny(name, "= \t\n\x00") {
			d.Add(diag.Invalid, at, "%q is no variable's name", name)
		}
		checkText(in.GetEnvironmentVariables()[name], at, d)
	}
	return out
}

// checkProxyConfig: of a namespace one without a selector is in force.
func checkProxyConfig(p *proxyLevel, in scope, d *diag.List) {
	if p.selecting {
		return
	}
	for _, other := range in.proxyConfigs(p.namespace) {
		if !other.selecting && other.rank < p.rank {
			d.Add(diag.Duplicate, "", "ProxyConfig %s/%s, which is older, is in force for namespace %s, there can be only one without a selector", other.namespace, other.name, p.namespace)
			return
		}
	}
}

// proxyConfigs are those of a namespace.
func (s scope) proxyConfigs(namespace string) (out []*proxyLevel) {
	all, _ := memo.Get(s.r, &s.c.proxyLevels.Cell, namespace)
	for _, p := range all.All() {
		out = append(out, p)
	}
	return out
}
