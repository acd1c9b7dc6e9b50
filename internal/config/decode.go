package config

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	strictjson "sigs.k8s.io/json"

	"github.com/weftmesh/weft/internal/diag"
)

// MaxDocument bounds one YAML document, in bytes.
const MaxDocument = 4 << 20

// Findings of Decode.
var (
	// the text is not YAML, or not an object
	findingSyntax = diag.Finding{Code: "WEFT0001", Cure: "correct the YAML; until then the file's last good state stays in force"}
	// the kind, or the kind in this API group, does not exist
	findingKind = diag.Finding{Code: "WEFT0002", Cure: "check kind and apiVersion"}
	// the kind has no such field, or the field another type
	findingField = diag.Finding{Code: "WEFT0003", Cure: "correct or remove the field"}
	// an object without a name
	findingName = diag.Finding{Code: "WEFT0004", Cure: "give it a metadata.name"}
	// a kind of another program
	findingForeign = diag.Finding{Code: "WEFT0009", Severity: diag.Warning, Cure: "nothing to do if it is meant for another program; else correct apiVersion and kind"}
	// a kind of Kubernetes that Weft does not read
	findingSkipped = diag.Finding{Code: "WEFT0005", Severity: diag.Info, Cure: "nothing to do: Weft does not read this kind"}
)

// Decode reads the objects of one file: YAML or JSON documents, or a List.
// Namespaced objects without a namespace are put into "default". file names
// them in findings. Every problem of form is a finding with its line; the
// objects without one are returned all the same, and of those that guard
// workloads what can be read (Object.Unread).
func Decode(file string, data []byte) ([]*Object, []diag.Diagnostic) {
	var objects []*Object
	var found []diag.Diagnostic
	for _, d := range split(file, data) {
		os, fs := d.decode()
		objects, found = append(objects, os...), append(found, fs...)
	}
	return objects, found
}

// document is one YAML document of a file; line is that of its first line.
type document struct {
	file string
	line int
	text []byte
	// at is the position within the document, for the items of a List.
	at diag.Path
}

// head is what every object has.
type head struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   metav1.ObjectMeta `json:"metadata"`
	Spec       json.RawMessage   `json:"spec"`
	Items      []json.RawMessage `json:"items"`
}

func (d document) decode() ([]*Object, []diag.Diagnostic) {
	if len(d.text) > MaxDocument {
		return d.fail(diag.Object{}, findingSyntax, 0, "", "the document is larger than %d bytes", MaxDocument)
	}
	raw, err := toJSON(d.text)
	if err != nil {
		line, text := yamlError(err)
		return d.fail(diag.Object{}, findingSyntax, line, "", "%s", text)
	}
	if string(raw) == "null" {
		return nil, nil
	}
	return d.object(raw)
}

func (d document) object(raw []byte) ([]*Object, []diag.Diagnostic) {
	var h head
	if err := strictjson.UnmarshalCaseSensitivePreserveInts(raw, &h); err != nil {
		at, text := wrongType(err)
		return d.fail(diag.Object{}, findingSyntax, 0, at, "not a Kubernetes object: %s", text)
	}
	ref := diag.Object{Kind: h.Kind, Namespace: h.Metadata.Namespace, Name: h.Metadata.Name}
	if h.Kind == "List" || strings.HasSuffix(h.Kind, "List") && h.Items != nil {
		return d.list(h)
	}
	group := ""
	if g, _, ok := strings.Cut(h.APIVersion, "/"); ok {
		group = g
	}
	t, ok := known[Kind(h.Kind)]
	switch {
	case h.Kind == "" || h.APIVersion == "":
		return d.fail(ref, findingKind, 0, "", "kind and apiVersion must be set")
	case ok && t.hasGroup(group):
	case kubernetesKind(group, h.Kind):
		return d.fail(ref, findingSkipped, 0, "kind", "kind %s of %s is not read", h.Kind, h.APIVersion)
	case foreignGroup(group):
		return d.fail(ref, findingForeign, 0, "kind", "kind %s of %s is another program's: it is passed over", h.Kind, h.APIVersion)
	default:
		return d.fail(ref, findingKind, 0, "kind", "unknown kind %s of %s", h.Kind, h.APIVersion)
	}
	if h.Metadata.Name == "" {
		return d.fail(ref, findingName, 0, "metadata", "metadata.name is empty")
	}
	return d.typed(t, h, raw)
}

func (d document) list(h head) (objects []*Object, found []diag.Diagnostic) {
	for i, item := range h.Items {
		sub := d
		sub.at = d.at.Field("items").Index(i)
		os, fs := sub.object(item)
		objects, found = append(objects, os...), append(found, fs...)
	}
	return objects, found
}

// typed decodes an object of a known kind.
func (d document) typed(t typed, h head, raw []byte) ([]*Object, []diag.Diagnostic) {
	o := &Object{
		Kind: Kind(h.Kind), Namespace: h.Metadata.Namespace, Name: h.Metadata.Name,
		Labels: h.Metadata.Labels, Annotations: h.Metadata.Annotations, Created: h.Metadata.CreationTimestamp.Time,
		Generation: h.Metadata.Generation, UID: string(h.Metadata.UID), File: d.file, Line: d.line,
	}
	switch {
	case t.cluster:
		o.Namespace = ""
	case o.Namespace == "":
		o.Namespace = "default"
	}
	o.Unhealthy = o.Kind == WorkloadEntry && o.unhealthy(raw)
	if d.at != "" {
		o.Line = d.lineOf("metadata")
	}
	var problems []fieldProblem
	if t.message != nil {
		problems = o.decodeMessage(t, h, raw)
	} else {
		problems = o.decodeObject(t, raw)
	}
	if len(problems) == 0 {
		return o.withMeshConfig()
	}
	var found []diag.Diagnostic
	for _, p := range problems {
		_, fs := d.fail(o.Ref(), findingField, 0, p.path, "%s", p.text)
		found = append(found, fs...)
	}
	if len(o.Unread) > 0 {
		return []*Object{o}, found
	}
	return nil, found
}

// HealthChecked is the annotation of WorkloadEntries whose process is asked
// whether it is well: until it was, nobody is sent there.
// Source: Istio, proxy.istio.io/health-checks-enabled.
const HealthChecked = "proxy.istio.io/health-checks-enabled"

// GroupOf is the annotation by which a WorkloadEntry names the WorkloadGroup that
// it was made of. Source: istio.io/api annotation, istio.io/autoRegistrationGroup.
const GroupOf = "istio.io/autoRegistrationGroup"

// unhealthy reads condition Healthy of an object's status. A status that is not of
// that form says nothing.
func (o *Object) unhealthy(raw []byte) bool {
	var in struct {
		Status struct {
			Conditions []struct{ Type, Status string } `json:"conditions"`
		} `json:"status"`
	}
	if json.Unmarshal(raw, &in) == nil {
		for _, c := range in.Status.Conditions {
			if c.Type == "Healthy" {
				return c.Status == "False"
			}
		}
	}
	return o.Annotations[HealthChecked] == "true"
}

// withMeshConfig returns o, and for the ConfigMap "istio" of a system namespace
// also the MeshConfig in it, which may be empty: its annotations count too.
func (o *Object) withMeshConfig() ([]*Object, []diag.Diagnostic) {
	cm, ok := o.Spec.(*corev1.ConfigMap)
	system := o.Namespace == "weft-system" || o.Namespace == "istio-system"
	if !ok || !system || o.Name != "istio" {
		return []*Object{o}, nil
	}
	mesh, found := DecodeMeshConfig(o.File, []byte(cmp.Or(cm.Data["mesh"], "{}")))
	if mesh == nil {
		return []*Object{o}, found
	}
	mesh.Line, mesh.Created = o.Line, o.Created
	mesh.Annotations, mesh.Labels = o.Annotations, o.Labels // settings of ours that MeshConfig has no field for
	return []*Object{o, mesh}, nil
}

// fieldProblem is a field that cannot be read.
type fieldProblem struct {
	path diag.Path
	text string
}

func (o *Object) decodeMessage(t typed, h head, raw []byte) []fieldProblem {
	m := t.message()
	spec, at := h.Spec, diag.Path("spec")
	if o.Kind == MeshConfig && len(spec) == 0 {
		spec, at = withoutHead(raw), ""
	}
	if len(spec) == 0 || string(spec) == "null" {
		spec = []byte("{}")
	}
	var tree any
	if err := json.Unmarshal(spec, &tree); err != nil {
		return []fieldProblem{{at, err.Error()}}
	}
	problems := unknownFields(m.ProtoReflect().Descriptor(), tree, at)
	if o.Kind != MeshConfig && (len(problems) == 0 || o.Kind.Guards()) {
		problems = append(problems, unknownTop(raw)...)
	}
	if len(problems) == 0 {
		err := readMessage(spec, m)
		if err == nil {
			o.Spec = m
			return nil
		}
		problems = append(problems, misread(m.ProtoReflect().Descriptor(), tree, fieldProblem{at, plainError(err)}))
	}
	if o.Kind.Guards() {
		return o.salvage(t, tree, problems)
	}
	return problems
}

func (o *Object) decodeObject(t typed, raw []byte) []fieldProblem {
	obj := t.object()
	strict, err := strictjson.UnmarshalStrict(raw, obj)
	if err != nil {
		at, text := wrongType(err)
		return []fieldProblem{{at, text}}
	}
	var problems []fieldProblem
	for _, e := range strict {
		problems = append(problems, fieldProblem{quotedPath(e.Error()), e.Error()})
	}
	if m, ok := obj.(metav1.Object); ok {
		m.SetNamespace(o.Namespace)
		m.SetManagedFields(nil)
	}
	o.Spec = obj
	return problems
}

var quoted = regexp.MustCompile(`"([^"]+)"`)

func quotedPath(text string) diag.Path {
	if m := quoted.FindStringSubmatch(text); m != nil {
		return diag.Path(m[1])
	}
	return ""
}

// fail makes one finding; line 0 means: that of the field path.
func (d document) fail(ref diag.Object, f diag.Finding, line int, at diag.Path, format string, args ...any) ([]*Object, []diag.Diagnostic) {
	ref.File = d.file
	if ref.Line = d.line + line - 1; line == 0 {
		ref.Line = d.lineOf(at)
	}
	if ref.Kind == "" {
		ref.Kind, ref.Name = "File", d.file
	}
	l := diag.For(ref)
	l.Add(f, at, format, args...)
	return nil, l.All()
}

var lineNumber = regexp.MustCompile(`line (\d+)`)

// yamlError takes the line, from 1, out of a parser's message; 1 if it names
// none.
func yamlError(err error) (line int, text string) {
	text = strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	line = 1
	if m := lineNumber.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
	}
	return line, text
}

// DecodeMeshConfig reads a bare MeshConfig, as `--mesh-config` and the
// ConfigMap istio hold it.
func DecodeMeshConfig(file string, data []byte) (*Object, []diag.Diagnostic) {
	raw, err := toJSON(data)
	d := document{file: file, line: 1, text: data}
	ref := diag.Object{Kind: string(MeshConfig), Name: "mesh"}
	if err != nil {
		line, text := yamlError(err)
		_, found := d.fail(ref, findingSyntax, line, "", "%s", text)
		return nil, found
	}
	o := &Object{Kind: MeshConfig, Name: "mesh", File: file, Line: 1}
	problems := o.decodeMessage(known[MeshConfig], head{}, raw)
	var found []diag.Diagnostic
	for _, p := range problems {
		_, fs := d.fail(ref, findingField, 0, p.path, "%s", p.text)
		found = append(found, fs...)
	}
	if len(found) > 0 {
		return nil, found
	}
	return o, nil
}

func withoutHead(raw []byte) json.RawMessage {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return nil
	}
	for _, k := range []string{"apiVersion", "kind", "metadata", "status"} {
		delete(m, k)
	}
	out, err := json.Marshal(m)
	if err != nil {
		return nil
	}
	return out
}

func unknownTop(raw []byte) (out []fieldProblem) {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return nil
	}
	for _, k := range sortedKeys(m) {
		switch k {
		case "apiVersion", "kind", "metadata", "spec", "status":
		default:
			out = append(out, fieldProblem{diag.Path(k), fmt.Sprintf("unknown field %q", k)})
		}
	}
	return out
}
