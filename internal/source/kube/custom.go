package kube

import (
	"bytes"
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
)

// custom is an object of a kind with a CRD: its name, and its JSON for config
// to decode.
type custom struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	raw []byte
}

type customList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []custom `json:"items"`
}

// addCustom makes every kind with a CRD decode into custom.
func addCustom(scheme *runtime.Scheme) {
	for _, k := range customKinds {
		for _, version := range customVersions {
			gv := schema.GroupVersion{Group: k.group, Version: version}
			scheme.AddKnownTypeWithName(gv.WithKind(string(k.name)), &custom{})
			scheme.AddKnownTypeWithName(gv.WithKind(string(k.name)+"List"), &customList{})
			metav1.AddToGroupVersion(scheme, gv)
		}
	}
}

// identity is all of an object that is read before config decodes it.
type identity struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        struct {
		Name            string            `json:"name"`
		Namespace       string            `json:"namespace"`
		ResourceVersion string            `json:"resourceVersion"`
		Annotations     map[string]string `json:"annotations"` // of bookmarks
	} `json:"metadata"`
}

// UnmarshalJSON keeps a copy of the text.
func (c *custom) UnmarshalJSON(text []byte) error {
	var id identity
	if err := json.Unmarshal(text, &id); err != nil {
		return err
	}
	c.TypeMeta = id.TypeMeta
	c.Name, c.Namespace, c.ResourceVersion = id.Metadata.Name, id.Metadata.Namespace, id.Metadata.ResourceVersion
	c.Annotations = id.Metadata.Annotations
	c.raw = bytes.Clone(text)
	return nil
}

// DeepCopyObject makes custom a runtime.Object; what is shared is never
// written to.
func (c *custom) DeepCopyObject() runtime.Object {
	next := *c
	return &next
}

// DeepCopyObject makes customList a runtime.Object.
func (l *customList) DeepCopyObject() runtime.Object {
	next := *l
	return &next
}

// lastApplied is a second copy of the whole object, left by kubectl.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// readCustom decodes an object of a kind with a CRD.
func readCustom(in runtime.Object) (*config.Object, []diag.Diagnostic) {
	c, ok := in.(*custom)
	if !ok {
		return nil, nil
	}
	o, found := config.DecodeJSON(c.raw)
	if o != nil {
		delete(o.Annotations, lastApplied)
		if len(o.Annotations) == 0 {
			o.Annotations = nil
		}
	}
	return o, found
}
