package kube

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
)

// meshConfigMap and its key hold MeshConfig, as in Istio, unless Options name
// another.
const meshConfigMap, meshConfigKey = "istio", "mesh"

// meshKey is the one MeshConfig's in a Set.
const meshKey = "/mesh"

// meshConfigReader reads MeshConfig out of its ConfigMap in the system
// namespace, which is the root namespace unless it names another.
func meshConfigReader(namespace, name string) reader {
	return func(in runtime.Object) (*config.Object, []diag.Diagnostic) {
		cm, ok := in.(*corev1.ConfigMap)
		if !ok {
			return nil, nil
		}
		settings := kept(cm.Annotations)
		if cm.Data[meshConfigKey] == "" && len(settings) == 0 {
			return defaultMeshConfig(namespace), nil
		}
		o, found := config.DecodeMeshConfig("ConfigMap "+namespace+"/"+name, []byte(cmp.Or(cm.Data[meshConfigKey], "{}")))
		if o == nil {
			return nil, found
		}
		o.Created, o.Annotations = cm.CreationTimestamp.Time, settings
		if namespace != DefaultNamespace {
			o = config.WithRootNamespace(o, namespace)
		}
		return o, found
	}
}

// defaultMeshConfig is in force where there is none; nil: all defaults are.
func defaultMeshConfig(namespace string) *config.Object {
	if namespace == DefaultNamespace {
		return nil
	}
	return config.WithRootNamespace(nil, namespace)
}
