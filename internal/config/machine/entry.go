// Package machine makes the WorkloadEntry of a process that joins the mesh from
// outside of its pods: the template of its WorkloadGroup, filled in.
//
// In: the group as its API server or folder holds it. Out: the entry. It imports
// config and Kubernetes' types.
package machine

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/internal/config"
)

// apiVersion of both kinds.
const apiVersion = "networking.istio.io/v1"

// EntryName is the name of a group's entry unless another is asked for:
// GROUP-ADDRESS.
func EntryName(group string, address netip.Addr) string {
	return group + "-" + strings.NewReplacer(".", "-", ":", "-").Replace(address.Unmap().String())
}

// Entry fills a group's template in; the group is not written to. Errors: the
// template is no object. Source: istio.io/api networking/v1alpha3, message
// WorkloadGroup: labels of its metadata are the entry's, beside the template's.
func Entry(group *unstructured.Unstructured, name string, address netip.Addr) (*unstructured.Unstructured, error) {
	spec, _, err := unstructured.NestedMap(group.Object, "spec", "template")
	if err != nil {
		return nil, fmt.Errorf("WorkloadGroup %s/%s: spec.template: %w", group.GetNamespace(), group.GetName(), err)
	}
	if spec == nil {
		spec = map[string]any{}
	}
	labels, _, _ := unstructured.NestedStringMap(group.Object, "spec", "metadata", "labels")
	annotations, _, _ := unstructured.NestedStringMap(group.Object, "spec", "metadata", "annotations")
	own, _, _ := unstructured.NestedStringMap(spec, "labels")
	all := maps.Clone(labels)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, own)
	spec["address"] = address.Unmap().String()
	if err := unstructured.SetNestedStringMap(spec, all, "labels"); err != nil {
		return nil, err
	}
	out := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	out.SetAPIVersion(apiVersion)
	out.SetKind("WorkloadEntry")
	out.SetName(name)
	out.SetNamespace(group.GetNamespace())
	out.SetLabels(all)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[config.GroupOf] = group.GetName()
	if Probe(group) != nil {
		annotations[config.HealthChecked] = "true"
	}
	out.SetAnnotations(annotations)
	return out, nil
}

// Probe is what a group's processes are asked whether they are well; nil: they
// are not.
func Probe(group *unstructured.Unstructured) map[string]any {
	probe, _, _ := unstructured.NestedMap(group.Object, "spec", "probe")
	return probe
}

// Account is the service account that an entry runs as.
func Account(entry *unstructured.Unstructured) string {
	if account, _, _ := unstructured.NestedString(entry.Object, "spec", "serviceAccount"); account != "" {
		return account
	}
	return "default"
}
