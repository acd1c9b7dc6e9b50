package view

import (
	"strings"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// Keys of inputs.proxy.
const (
	namespaceKey = "namespace"  // its value is the proxy's namespace
	homeKey      = "namespace/" // followed by it
	labelKey     = "label/"     // followed by a label's key, of its value
	sidecarKey   = "sidecar"    // its value is the Sidecar's key
	limitsKey    = "limits"     // the same, of a Sidecar that limits what is seen
	metadataKey  = "metadata/"  // followed by a key of the node's metadata, of its value
	workloadKey  = "workload"   // its value is the workload's name, of a proxy with self-discovery
	portsKey     = "ports"      // its value are the proxy's named ports, as a class has them
)

// proxyOf gives the part of a class by which the classes of a role differ, so
// that each question about the proxy is a read of its own. Most entries of a
// namespace's graph ask none, or get the answer that any other namespace gets,
// and are shared.
func proxyOf(class model.ProxyClass) (t memo.Table[string]) {
	if class.Namespace != "" {
		t = t.With(namespaceKey, class.Namespace).With(homeKey+class.Namespace, "")
	}
	for k, v := range model.ParseLabels(class.Labels) {
		t = t.With(labelKey+k, v)
	}
	if class.Sidecar != "" {
		t = t.With(sidecarKey, class.Sidecar)
		if class.Reach != model.ReachAll {
			t = t.With(limitsKey, class.Sidecar)
		}
	}
	for k, v := range model.ParseLabels(class.Metadata) {
		t = t.With(metadataKey+k, v)
	}
	if class.Workload != "" {
		t = t.With(workloadKey, class.Workload)
	}
	if class.Ports != "" {
		t = t.With(portsKey, class.Ports)
	}
	return t
}

// labels are all of the proxy's: where one will do, ask for that.
func (in *inputs) labels(r *memo.Reader) map[string]string {
	out := map[string]string{}
	for key, v := range memo.All(r, &in.proxy.Cell).All() {
		if k, ok := strings.CutPrefix(key, labelKey); ok {
			out[k] = v
		}
	}
	return out
}

// ports are the proxy's named ports, as a class has them.
func (in *inputs) ports(r *memo.Reader) string {
	v, _ := memo.Get(r, &in.proxy.Cell, portsKey)
	return v
}

// home reports whether the proxy is in namespace.
func (in *inputs) home(r *memo.Reader, namespace string) bool {
	_, ok := memo.Get(r, &in.proxy.Cell, homeKey+namespace)
	return ok
}

// namespace is the proxy's. It differs for all: where home will do, ask that.
func (in *inputs) namespace(r *memo.Reader) string {
	ns, _ := memo.Get(r, &in.proxy.Cell, namespaceKey)
	return ns
}

// sees reports whether the proxy sees an object of namespace owner.
func (in *inputs) sees(r *memo.Reader, v model.Visibility, owner string) bool {
	return v.SeenBy(owner, func(namespace string) bool { return in.home(r, namespace) })
}

// selected reports whether the proxy has all labels of selector.
func (in *inputs) selected(r *memo.Reader, selector map[string]string) bool {
	for k, v := range selector {
		if have, ok := memo.Get(r, &in.proxy.Cell, labelKey+k); !ok || have != v {
			return false
		}
	}
	return true
}
