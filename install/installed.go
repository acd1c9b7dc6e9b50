package install

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Installed is one revision of the control plane that is in a cluster.
type Installed struct {
	Revision   string
	Namespace  string
	ManagedBy  string            // "weft" or "Helm"
	Components map[string]string // version of each Deployment, by its name
	Values     map[string]any    // that it was installed with; nil where Helm did it
}

// Version is that of the components; where they differ, all of them.
func (i *Installed) Version() string {
	var all []string
	for _, v := range i.Components {
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// Installed lists the revisions that are in the cluster, sorted by namespace
// and name; none if Weft is not installed.
func (c *Cluster) Installed(ctx context.Context) ([]*Installed, error) {
	found, err := c.list(ctx, deployments, "", partOf+"="+partOfWeft+","+system)
	if err != nil {
		return nil, fmt.Errorf("list deployments: %w", err)
	}
	var out []*Installed
	for i := range found {
		d := &found[i]
		labels := d.GetLabels()
		at := slices.IndexFunc(out, func(o *Installed) bool { return o.Namespace == labels[system] && o.Revision == labels[revisionKey] })
		if at < 0 {
			at = len(out)
			out = append(out, &Installed{Revision: labels[revisionKey], Namespace: labels[system], ManagedBy: labels[managedBy], Components: map[string]string{}})
		}
		out[at].Components[d.GetName()] = imageTag(d)
	}
	slices.SortFunc(out, func(a, b *Installed) int {
		return strings.Compare(a.Namespace+"/"+a.Revision, b.Namespace+"/"+b.Revision)
	})
	for _, i := range out {
		if err := c.readValues(ctx, i); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// imageTag is the tag of a Deployment's first image: what really runs.
func imageTag(d *unstructured.Unstructured) string {
	containers, _, _ := unstructured.NestedSlice(d.Object, "spec", "template", "spec", "containers")
	if len(containers) == 0 {
		return "unknown"
	}
	c, _ := containers[0].(map[string]any)
	image, _ := c["image"].(string)
	if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
		return image[i+1:]
	}
	return "latest"
}

func (c *Cluster) readValues(ctx context.Context, i *Installed) error {
	if i.ManagedBy != fieldOwner {
		return nil
	}
	name := settingsName(i.Revision)
	o, err := c.objects.Resource(configMaps).Namespace(i.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("ConfigMap %s/%s: %w", i.Namespace, name, err)
	}
	text := o.GetAnnotations()[valuesAnnotation]
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &i.Values); err != nil {
		return fmt.Errorf("ConfigMap %s/%s, annotation %s: %w", i.Namespace, name, valuesAnnotation, err)
	}
	return nil
}

// Find gives the revision of a namespace among those installed; nil if it is
// not there.
func Find(all []*Installed, namespace, revision string) *Installed {
	i := slices.IndexFunc(all, func(o *Installed) bool { return o.Namespace == namespace && o.Revision == revision })
	if i < 0 {
		return nil
	}
	return all[i]
}
