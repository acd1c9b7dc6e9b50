package apis

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// definition is what the test reads of a CustomResourceDefinition.
type definition struct {
	Metadata struct {
		Name                string
		Labels, Annotations map[string]string
	}
	Spec struct {
		Names    struct{ Kind string }
		Versions []struct {
			Name            string
			Served, Storage bool
			Subresources    map[string]any
		}
	}
}

// Kiali's list fails as a whole where one of these is missing.
func TestCRDs(t *testing.T) {
	want := map[string]string{
		"DestinationRule": "v1", "Gateway": "v1", "ServiceEntry": "v1", "Sidecar": "v1", "VirtualService": "v1", "WorkloadEntry": "v1",
		"WorkloadGroup": "v1", "EnvoyFilter": "v1alpha3", "AuthorizationPolicy": "v1", "PeerAuthentication": "v1",
		"RequestAuthentication": "v1", "Telemetry": "v1", "WasmPlugin": "v1alpha1",
	}
	files, err := CRDs()
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range files {
		var d definition
		if err := yaml.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d.Metadata.Annotations[OwnerAnnotation] != "weft" || d.Metadata.Labels["app.kubernetes.io/part-of"] != "weft" {
			t.Errorf("%s does not say that it is ours: %v", file, d.Metadata)
		}
		if strings.Contains(string(text), "istio-pilot") {
			t.Errorf("%s carries labels of Istio's chart", file)
		}
		served := false
		for _, v := range d.Spec.Versions {
			if _, ok := v.Subresources["status"]; !ok {
				t.Errorf("%s %s: no status subresource", file, v.Name)
			}
			served = served || v.Served && v.Name == want[d.Spec.Names.Kind]
		}
		if _, listed := want[d.Spec.Names.Kind]; listed && !served {
			t.Errorf("%s is not served at %s", file, want[d.Spec.Names.Kind])
		}
		delete(want, d.Spec.Names.Kind)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}
