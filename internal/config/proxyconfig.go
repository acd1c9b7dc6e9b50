package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	meshv1 "istio.io/api/mesh/v1alpha1"
	networkingbeta "istio.io/api/networking/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/model"
)

// ProxyTarget is the workload that ProxyConfigs are asked for.
type ProxyTarget struct {
	Root       string // namespace; empty: weft-system
	Namespace  string
	Labels     map[string]string
	Annotation string // the pod's ProxyAnnotation; empty: it has none
}

// ProxyLevels are what objects of kind ProxyConfig say of one workload, as the
// part of MeshConfig's that they have. Neither is nil.
type ProxyLevels struct {
	// Below goes over defaultConfig of the mesh and under the annotation
	// proxy.istio.io/config: of the root namespace, then of the workload's.
	Below *meshv1.ProxyConfig
	// Above goes over the annotation: of those that select the workload.
	Above *meshv1.ProxyConfig
}

// ProxyConfigsOf merges the objects of kind ProxyConfig among all that hold for
// a workload. Of several of one level the oldest counts.
//
// Source: istio.io/api networking/v1beta1, proxy_config.proto.
func ProxyConfigsOf(all []*Object, to ProxyTarget) ProxyLevels {
	root := cmp.Or(to.Root, "weft-system")
	var mesh, wide, own *Object
	for _, o := range all {
		in, ok := o.Spec.(*networkingbeta.ProxyConfig)
		if !ok {
			continue
		}
		selector := in.GetSelector().GetMatchLabels()
		switch {
		case o.Namespace == to.Namespace && len(selector) > 0:
			if model.Selects(selector, to.Labels) {
				own = older(own, o)
			}
		case len(selector) > 0:
		case o.Namespace == root:
			mesh = older(mesh, o)
		case o.Namespace == to.Namespace:
			wide = older(wide, o)
		}
	}
	return ProxyLevels{Below: OverlayProxy(asMesh(mesh), asMesh(wide)), Above: asMesh(own)}
}

// refusedOfPods are the fields by which a pod would change who is trusted or what
// runs.
var refusedOfPods = map[protoreflect.Name]string{
	"ca_certificates_pem":  "trusted roots come from the mesh's CA; put others into Secret cacerts",
	"private_key_provider": "keys are made in the proxy; leave it out",
	"custom_config_file":   "Envoy's bootstrap cannot be replaced; leave it out",
	"binary_path":          "the binary is the image's; name another image in sidecar.istio.io/proxyImage",
}

// RefusedOfPods says why a pod's annotation may not have a field; empty: it may.
func RefusedOfPods(field protoreflect.Name) string { return refusedOfPods[field] }

// Of is what holds for a pod: base, which is defaultConfig of the mesh, the
// ProxyConfigs below, its annotation, and the ProxyConfig that selects it, each over
// those before it. With an error, which names the annotation, it is what there would
// be without that, if it cannot be read.
// Source: istio.io/api networking/v1beta1, proxy_config.proto.
func (l ProxyLevels) Of(base *meshv1.ProxyConfig, annotation string) (*meshv1.ProxyConfig, error) {
	out := OverlayProxy(base, l.Below)
	if annotation == "" {
		return OverlayProxy(out, l.Above), nil
	}
	own, err := ParseProxyConfig(annotation)
	if err != nil {
		return OverlayProxy(out, l.Above), fmt.Errorf("pod annotation %s: %w", ProxyAnnotation, err)
	}
	var failed []error
	own.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if why := RefusedOfPods(f.Name()); why != "" {
			failed = append(failed, fmt.Errorf("pod annotation %s: %s: %s", ProxyAnnotation, f.JSONName(), why))
		}
		return true
	})
	return OverlayProxy(OverlayProxy(out, own), l.Above), errors.Join(failed...)
}

// Proxy is what holds for a workload's proxy by MeshConfig's defaultConfig, the
// ProxyConfigs of the set and the pod's annotation. The error is of the annotation.
func (s Set) Proxy(to ProxyTarget) (*meshv1.ProxyConfig, error) {
	base := &meshv1.ProxyConfig{}
	for _, o := range s.Of(MeshConfig).All() {
		if in, ok := o.Spec.(*meshv1.MeshConfig); ok {
			to.Root = cmp.Or(to.Root, in.GetRootNamespace())
			base = OverlayProxy(base, in.GetDefaultConfig())
		}
	}
	var all []*Object
	for _, o := range s.Of(ProxyConfig).All() {
		all = append(all, o)
	}
	return ProxyConfigsOf(all, to).Of(base, to.Annotation)
}

// ProxyAnnotation overrules defaultConfig of the mesh for one pod.
const ProxyAnnotation = "proxy.istio.io/config"

// ParseProxyConfig reads the value of ProxyAnnotation; an empty one says nothing.
func ParseProxyConfig(text string) (*meshv1.ProxyConfig, error) {
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("want a ProxyConfig in YAML: %w", err)
	}
	out := &meshv1.ProxyConfig{}
	if bytes.Equal(raw, []byte("null")) {
		return out, nil
	}
	if err := protojson.Unmarshal(raw, out); err != nil {
		return nil, fmt.Errorf("want a ProxyConfig in YAML: %w", err)
	}
	return out, nil
}

func older(a, b *Object) *Object {
	if a == nil || cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Key(), a.Key())) < 0 {
		return b
	}
	return a
}

// asMesh is what o says in the words of MeshConfig; nil says nothing.
func asMesh(o *Object) *meshv1.ProxyConfig {
	out := &meshv1.ProxyConfig{}
	if o == nil {
		return out
	}
	in, _ := o.Spec.(*networkingbeta.ProxyConfig)
	out.Concurrency, out.Image = in.GetConcurrency(), in.GetImage()
	if len(in.GetEnvironmentVariables()) > 0 {
		out.ProxyMetadata = maps.Clone(in.GetEnvironmentVariables())
	}
	return out
}

// OverlayProxy lays over on base: each field that is set replaces base's, but
// for proxyMetadata, whose names are merged. The arguments are not changed.
func OverlayProxy(base, over *meshv1.ProxyConfig) *meshv1.ProxyConfig {
	out := proto.CloneOf(base)
	if out == nil {
		out = &meshv1.ProxyConfig{}
	}
	if over == nil {
		return out
	}
	over = proto.CloneOf(over)
	var set []protoreflect.FieldDescriptor
	over.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		set = append(set, f)
		return true
	})
	wrappers := []protoreflect.FullName{"google.protobuf.Int32Value", "google.protobuf.BoolValue", "google.protobuf.Duration"}
	for _, f := range set {
		// Merged, a wrapper of 0 or false would say nothing.
		if f.Message() != nil && !f.IsMap() && slices.Contains(wrappers, f.Message().FullName()) {
			out.ProtoReflect().Clear(f)
		}
	}
	proto.Merge(out, over)
	return out
}
