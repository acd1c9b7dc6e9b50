package install

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/version"

	"github.com/weftmesh/weft/apis"
)

// Outcome of one check; the zero value is none.
type Outcome string

// A warning is worth knowing, and the mesh works; what failed, does not.
const (
	OK      Outcome = "ok"
	Warning Outcome = "warning"
	Failed  Outcome = "failed"
)

// Finding is what one check found. Cure is empty where nothing is to be done.
type Finding struct {
	Subject string  `json:"subject"`
	Outcome Outcome `json:"outcome"`
	Text    string  `json:"text"`
	Cure    string  `json:"cure,omitempty"`
}

func ok(subject, format string, args ...any) Finding {
	return Finding{Subject: subject, Outcome: OK, Text: fmt.Sprintf(format, args...)}
}

func warn(subject, cure, format string, args ...any) Finding {
	return Finding{Subject: subject, Outcome: Warning, Text: fmt.Sprintf(format, args...), Cure: cure}
}

func fail(subject, cure, format string, args ...any) Finding {
	return Finding{Subject: subject, Outcome: Failed, Text: fmt.Sprintf(format, args...), Cure: cure}
}

// Versions of Kubernetes, 1.MINOR: the oldest that is taken, and the first
// with sidecar containers.
const (
	oldestMinor  = 28
	sidecarMinor = 29
)

// Supported refuses a version of Kubernetes that Weft cannot run on.
func Supported(v *version.Info) error {
	if f := checkVersion(v); f.Outcome == Failed {
		return fmt.Errorf("%s; %s", f.Text, f.Cure)
	}
	return nil
}

func checkVersion(v *version.Info) Finding {
	const subject = "Kubernetes"
	minor, err := strconv.Atoi(strings.TrimRight(v.Minor, "+"))
	switch {
	case err != nil || v.Major != "1":
		return warn(subject, "go on, and report what does not work", "version %q is not known", v.GitVersion)
	case minor < oldestMinor:
		return fail(subject, fmt.Sprintf("upgrade to 1.%d or later", oldestMinor), "version %s is too old", v.GitVersion)
	case minor < sidecarMinor:
		return warn(subject, fmt.Sprintf("from 1.%d on Jobs end by themselves and proxies start first", sidecarMinor), "version %s has no sidecar containers; ordinary ones are used", v.GitVersion)
	}
	return ok(subject, "version %s", v.GitVersion)
}

// CheckBefore says whether a cluster can take an install into namespace. An
// error means that it could not be asked.
func (c *Cluster) CheckBefore(ctx context.Context, namespace string) ([]Finding, error) {
	v, err := c.Version()
	if err != nil {
		return nil, err
	}
	out := []Finding{checkVersion(v)}
	if c.only != "" {
		found, err := c.checkWithin(ctx)
		return append(out, found...), err
	}
	rights, err := c.checkRights(ctx, namespace)
	if err != nil {
		return nil, err
	}
	out = append(out, rights)
	if rights.Outcome == Failed {
		return out, nil // without them the rest could not be read
	}
	for _, check := range []func(context.Context, string) ([]Finding, error){c.checkNamespace, c.checkDefinitions, c.checkOthers, c.checkNodes} {
		found, err := check(ctx, namespace)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// checkRights asks whether the user may do what an install does.
func (c *Cluster) checkRights(ctx context.Context, namespace string) (Finding, error) {
	var missing []string
	for _, k := range append([]kind{{"CustomResourceDefinition", definitions, false}}, kinds...) {
		for _, verb := range []string{"get", "create", "patch", "delete"} {
			may, err := c.may(ctx, verb, k, namespace)
			if err != nil {
				return Finding{}, err
			}
			if !may {
				missing = append(missing, verb+" "+k.resource.Resource)
			}
		}
	}
	if len(missing) > 0 {
		return fail("rights", "use an account with the ClusterRole cluster-admin", "you may not: %s", strings.Join(missing, ", ")), nil
	}
	return ok("rights", "all that an install needs"), nil
}

func (c *Cluster) may(ctx context.Context, verb string, k kind, namespace string) (bool, error) {
	attributes := map[string]any{"verb": verb, "group": k.resource.Group, "resource": k.resource.Resource}
	if k.namespaced {
		attributes["namespace"] = namespace
	}
	review := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": map[string]any{"resourceAttributes": attributes},
	}}
	answer, err := c.objects.Resource(accessReviews).Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask for the rights: %w", err)
	}
	allowed, _, _ := unstructured.NestedBool(answer.Object, "status", "allowed")
	return allowed, nil
}

func (c *Cluster) checkNamespace(ctx context.Context, name string) ([]Finding, error) {
	found, err := c.get(ctx, namespace(name))
	if err != nil || found == nil {
		return nil, err
	}
	if found.GetDeletionTimestamp() != nil {
		return []Finding{fail("namespace "+name, "wait until it is gone: kubectl get namespace "+name, "it is being removed")}, nil
	}
	return []Finding{ok("namespace "+name, "it is there")}, nil
}

// checkDefinitions says what becomes of CRDs that are there.
func (c *Cluster) checkDefinitions(ctx context.Context, _ string) ([]Finding, error) {
	m, err := builtinCRDs()
	if err != nil {
		return nil, err
	}
	var out []Finding
	foreign, own := 0, 0
	for _, want := range m {
		found, err := c.get(ctx, want)
		if err != nil {
			return nil, err
		}
		switch {
		case found == nil:
		case found.GetAnnotations()[apis.OwnerAnnotation] != "":
			own++
		default:
			foreign++
			if lack := lacking(want, found); lack != "" {
				out = append(out, warn("CRD "+want.GetName(), "upgrade the control plane that made it, or remove it", "another made it, and it does not serve %s: objects of that version are not read", lack))
			}
		}
	}
	switch {
	case foreign > 0:
		out = append(out, ok("CRDs", "%d of %d are there and are another's: they are used, and left as they are", foreign, len(m)))
	case own > 0:
		out = append(out, ok("CRDs", "%d of %d are there, of Weft", own, len(m)))
	}
	return out, nil
}

// lacking is the newest version of a CRD that another's does not serve; "" if
// it serves it.
func lacking(want, found *unstructured.Unstructured) string {
	served := versions(found)
	for _, v := range versions(want) {
		if v == "v1" && !slices.Contains(served, v) {
			return v
		}
	}
	return ""
}

func versions(crd *unstructured.Unstructured) (out []string) {
	all, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, v := range all {
		if v, _ := v.(map[string]any); v["served"] == true {
			out = append(out, fmt.Sprint(v["name"]))
		}
	}
	return out
}

// checkOthers looks for control planes that are there.
func (c *Cluster) checkOthers(ctx context.Context, namespace string) ([]Finding, error) {
	others, err := c.OtherControlPlanes(ctx, namespace)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, o := range others {
		out = append(out, warn(o, "give each namespace to one of them by its label: istio-injection=enabled, or istio.io/rev", "another control plane reads the same objects"))
	}
	all, err := c.Installed(ctx)
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		out = append(out, ok("installed", "Weft %s, revision %s, in namespace %s; an install changes it", i.Version(), i.Revision, i.Namespace))
	}
	return out, nil
}

// architectures are those that images are built for.
var architectures = []string{"amd64", "arm64"}

func (c *Cluster) checkNodes(ctx context.Context, _ string) ([]Finding, error) {
	found, err := c.list(ctx, core("nodes"), "", "")
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	usable := 0
	for i := range found {
		arch, _, _ := unstructured.NestedString(found[i].Object, "status", "nodeInfo", "architecture")
		if slices.Contains(architectures, arch) && condition(&found[i], "Ready") == "True" {
			usable++
		}
	}
	if usable == 0 {
		return []Finding{fail("nodes", "kubectl get nodes shows them", "none of %d is ready and of architecture %s: no pod can run", len(found), strings.Join(architectures, " or "))}, nil
	}
	return []Finding{ok("nodes", "%d of %d can run Weft", usable, len(found))}, nil
}

// builtinCRDs are the CRDs of this build.
func builtinCRDs() ([]*unstructured.Unstructured, error) {
	files, err := apis.CRDs()
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for name, text := range files {
		if out, err = decode(out, name, string(text)); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b *unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out, nil
}

// Injected counts the pods with a sidecar, by namespace.
func (c *Cluster) Injected(ctx context.Context) (map[string]int, error) {
	found, err := c.list(ctx, pods, "", "security.istio.io/tlsMode=istio,"+partOf+"!="+partOfWeft)
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	out := map[string]int{}
	for i := range found {
		if hasProxy(&found[i]) {
			out[found[i].GetNamespace()]++
		}
	}
	return out, nil
}

// hasProxy says whether a pod's annotation of injection names the proxy.
func hasProxy(p *unstructured.Unstructured) bool {
	var status struct{ Containers, InitContainers []string }
	text := p.GetAnnotations()["sidecar.istio.io/status"]
	return text != "" && json.Unmarshal([]byte(text), &status) == nil && slices.Contains(slices.Concat(status.Containers, status.InitContainers), "istio-proxy")
}
