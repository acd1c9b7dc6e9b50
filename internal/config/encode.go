package config

import (
	"encoding/json"
	"fmt"
	"maps"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"
)

// versions are those of Istio's kinds that are not v1.
var versions = map[Kind]string{EnvoyFilter: "v1alpha3", ProxyConfig: "v1beta1"}

// lastApplied repeats the whole object.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Encode writes an object of Istio's API as YAML, as its user would. Defaults are
// not filled in, and what the API server adds is left out. An object of another
// kind is an error.
func Encode(o *Object) ([]byte, error) {
	spec, ok := o.Spec.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%s %s: it is no object of Istio's API", o.Kind, o.Key())
	}
	text, err := protojson.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", o.Kind, o.Key(), err)
	}
	version := versions[o.Kind]
	if version == "" {
		version = "v1"
	}
	annotations := maps.Clone(o.Annotations)
	delete(annotations, lastApplied)
	meta := map[string]any{"name": o.Name}
	if o.Namespace != "" {
		meta["namespace"] = o.Namespace
	}
	if len(o.Labels) > 0 {
		meta["labels"] = o.Labels
	}
	if len(annotations) > 0 {
		meta["annotations"] = annotations
	}
	return yaml.Marshal(struct {
		APIVersion string          `json:"apiVersion"`
		Kind       Kind            `json:"kind"`
		Metadata   map[string]any  `json:"metadata"`
		Spec       json.RawMessage `json:"spec"`
	}{o.Kind.Group() + "/" + version, o.Kind, meta, text})
}
