package install

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/config"
)

// valuesAnnotation keeps the values of an install, as JSON, on its ConfigMap
// istio, for the next upgrade; Helm keeps its own in a Secret.
const valuesAnnotation = "weft.mesh/values"

// Release is what one install is made of. Values are as Inputs.Values gives
// them; Namespace "" is DefaultNamespace.
type Release struct {
	Version   string // of the build
	Namespace string
	Values    map[string]any
}

// Manifest is a rendered release, in the order in which it is applied.
type Manifest struct {
	Namespace string
	Revision  string
	OneOnly   bool // nothing of it is outside of the namespace
	CRDs      []*unstructured.Unstructured
	Objects   []*unstructured.Unstructured // the Namespace first, but for OneOnly
}

// All are CRDs and objects.
func (m *Manifest) All() []*unstructured.Unstructured { return slices.Concat(m.CRDs, m.Objects) }

// YAML is the manifest as a stream of documents, in its order.
func (m *Manifest) YAML() ([]byte, error) {
	var out bytes.Buffer
	for _, o := range m.All() {
		text, err := yaml.Marshal(o.Object)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", title(o), err)
		}
		out.WriteString("---\n")
		out.Write(text)
	}
	return out.Bytes(), nil
}

// Render renders the release by Helm's engine. It asks no cluster. An error
// says which value is at fault.
func Render(r Release) (*Manifest, error) {
	r.Namespace = cmp.Or(r.Namespace, DefaultNamespace)
	c, err := Chart(r.Version)
	if err != nil {
		return nil, err
	}
	values, err := renderValues(c, r)
	if err != nil {
		return nil, err
	}
	texts, err := engine.Render(c, values)
	if err != nil {
		return nil, fmt.Errorf("the chart: %w", err)
	}
	m := &Manifest{Namespace: r.Namespace}
	m.Revision, _, _ = unstructured.NestedString(values["Values"].(common.Values), "revision")
	scope, _, _ := unstructured.NestedString(values["Values"].(common.Values), "scope")
	m.OneOnly = scope == "namespace"
	for _, crd := range c.CRDObjects() {
		if m.OneOnly {
			break // they are of the cluster
		}
		if m.CRDs, err = decode(m.CRDs, crd.Filename, string(crd.File.Data)); err != nil {
			return nil, err
		}
	}
	if !m.OneOnly {
		m.Objects = []*unstructured.Unstructured{namespace(r.Namespace)}
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if strings.HasSuffix(name, ".tpl") {
			continue
		}
		if m.Objects, err = decode(m.Objects, name, texts[name]); err != nil {
			return nil, err
		}
	}
	if err := remember(m, r.Values); err != nil {
		return nil, err
	}
	slices.SortStableFunc(m.Objects, func(a, b *unstructured.Unstructured) int { return cmp.Compare(stage(a), stage(b)) })
	return m, nil
}

// remember notes the values on the ConfigMap of the MeshConfig.
func remember(m *Manifest, values map[string]any) error {
	text, err := json.Marshal(values)
	if err != nil {
		return err
	}
	for _, o := range m.Objects {
		if o.GetKind() == "ConfigMap" && o.GetName() == settingsName(m.Revision) {
			o.SetAnnotations(map[string]string{valuesAnnotation: string(text)})
		}
	}
	return nil
}

// settingsName is the name of a revision's ConfigMap with the MeshConfig.
func settingsName(revision string) string {
	if revision == DefaultRevision {
		return "istio"
	}
	return "istio-" + revision
}

func renderValues(c *chart.Chart, r Release) (common.Values, error) {
	values, err := util.ToRenderValues(c, r.Values, common.ReleaseOptions{Name: "weft", Namespace: r.Namespace, Revision: 1, IsInstall: true}, nil)
	if err != nil {
		return nil, errors.New(plainer(err.Error()))
	}
	// Helm writes its own name; the label managed-by tells who did it.
	values["Release"].(map[string]any)["Service"] = fieldOwner
	return values, checkMeshConfig(values)
}

// refused is a line of Helm's check of the schema.
var refused = regexp.MustCompile(`(?m)^\s*- at '/?([^']*)': (.*)$`)

// plainer says which values Helm refuses, without naming its files.
func plainer(text string) string {
	var out []string
	for _, m := range refused.FindAllStringSubmatch(text, -1) {
		if m[2] != "validation failed" {
			out = append(out, "value "+strings.ReplaceAll(m[1], "/", ".")+": "+m[2])
		}
	}
	if len(out) == 0 {
		return strings.TrimSpace(text)
	}
	return strings.Join(out, "\n")
}

// checkMeshConfig refuses what the pilot would refuse, before it is installed.
func checkMeshConfig(values common.Values) error {
	mesh, err := values["Values"].(common.Values).Table("meshConfig")
	if err != nil {
		return err
	}
	text, err := mesh.YAML()
	if err != nil {
		return err
	}
	if _, found := config.DecodeMeshConfig("meshConfig", []byte(text)); len(found) > 0 {
		return fmt.Errorf("value meshConfig: %s", found[0])
	}
	return nil
}

// namespace is the one that holds the rest. Helm makes it by itself.
func namespace(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": map[string]any{"name": name, "labels": map[string]any{partOf: partOfWeft, managedBy: fieldOwner}},
	}}
}

func decode(into []*unstructured.Unstructured, name, text string) ([]*unstructured.Unstructured, error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return into, nil
		}
		if err == nil {
			doc, err = yaml.YAMLToJSONStrict(doc)
		}
		o := &unstructured.Unstructured{}
		if err == nil && string(doc) != "null" {
			err = o.UnmarshalJSON(doc)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if len(o.Object) > 0 {
			into = append(into, o)
		}
	}
}

func stage(o *unstructured.Unstructured) int {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == o.GetKind() })
	if i < 0 {
		return len(kinds)
	}
	return i
}
