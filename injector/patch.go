package injector

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// operation is one step of a JSON patch. Source: RFC 6902.
type operation struct {
	Op    string `json:"op"` // add, remove or replace
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// Patch is the JSON patch that injects the pod whose JSON is raw. What raw has
// and this build does not know, as fields of a later Kubernetes, stays: the
// patch touches only what injection changes. Errors are those of Inject, and
// that raw is not a pod.
func Patch(raw []byte, v Values) ([]byte, error) { return PatchOwned(raw, "", v) }

// PatchOwned is Patch for a pod template: owner is the name of the workload
// that has it, for a template has none. "" is Patch.
func PatchOwned(raw []byte, owner string, v Values) ([]byte, error) {
	var pod corev1.Pod
	if err := json.Unmarshal(raw, &pod); err != nil {
		return nil, fmt.Errorf("the object is no pod: %w", err)
	}
	injected, err := inject(&pod, owner, v)
	if err != nil {
		return nil, err
	}
	var have any
	if err := json.Unmarshal(raw, &have); err != nil {
		return nil, fmt.Errorf("the object is no pod: %w", err)
	}
	known, err := tree(&pod)
	if err != nil {
		return nil, err
	}
	want, err := tree(injected)
	if err != nil {
		return nil, err
	}
	out := compare(nil, "", diff{have, known, want})
	if out == nil {
		out = []operation{}
	}
	return json.Marshal(out)
}

// tree is an API object as plain JSON.
func tree(pod *corev1.Pod) (out any, err error) {
	text, err := json.Marshal(pod)
	if err != nil {
		return nil, err
	}
	return out, json.Unmarshal(text, &out)
}

// diff is one place of a document: as the API server holds it, as this build
// reads it, and as it shall be.
type diff struct{ have, known, want any }

// compare appends the steps that change known to want at path, on a document
// that is have.
func compare(ops []operation, path string, d diff) []operation {
	if reflect.DeepEqual(d.known, d.want) {
		return ops
	}
	if want, ok := d.want.(map[string]any); ok {
		have, isMap := d.have.(map[string]any)
		known, _ := d.known.(map[string]any)
		if isMap {
			return compareMaps(ops, path, have, diff{nil, known, want})
		}
	}
	if want, ok := d.want.([]any); ok {
		have, isList := d.have.([]any)
		known, _ := d.known.([]any)
		if isList && len(have) == len(known) {
			if out, ok := compareLists(ops, path, have, diff{nil, known, want}); ok {
				return out
			}
		}
	}
	return append(ops, operation{"replace", path, d.want})
}

func compareMaps(ops []operation, path string, have map[string]any, d diff) []operation {
	known, want := d.known.(map[string]any), d.want.(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(known)) {
		_, stays := want[key]
		if _, there := have[key]; there && !stays {
			ops = append(ops, operation{Op: "remove", Path: path + "/" + escape(key)})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		at := path + "/" + escape(key)
		if value, there := have[key]; there && value != nil {
			ops = compare(ops, at, diff{value, known[key], want[key]})
		} else if !reflect.DeepEqual(known[key], want[key]) {
			ops = append(ops, operation{"add", at, want[key]}) // replaces null as well
		}
	}
	return ops
}

// compareLists keeps what a list has and inserts what is new, where elements
// are objects with names, as a pod's containers and volumes are, and where
// those that stay are in the same order; else it reports false.
func compareLists(ops []operation, path string, have []any, d diff) ([]operation, bool) {
	known, want := d.known.([]any), d.want.([]any)
	before, ok := elementNames(known)
	if !ok {
		return nil, false
	}
	after, ok := elementNames(want)
	if !ok {
		return nil, false
	}
	var rest []any // of have, for the elements that stay
	var stay []int
	for i := len(before) - 1; i >= 0; i-- {
		if !slices.Contains(after, before[i]) {
			ops = append(ops, operation{Op: "remove", Path: path + "/" + strconv.Itoa(i)})
			continue
		}
		rest, stay = append(rest, have[i]), append(stay, i)
	}
	slices.Reverse(rest)
	slices.Reverse(stay)
	for i, name := range after {
		at := path + "/" + strconv.Itoa(i)
		if len(stay) > 0 && before[stay[0]] == name {
			ops = compare(ops, at, diff{rest[0], known[stay[0]], want[i]})
			rest, stay = rest[1:], stay[1:]
			continue
		}
		if slices.Contains(before, name) {
			return nil, false // the order changed
		}
		ops = append(ops, operation{"add", at, want[i]})
	}
	return ops, true
}

// elementNames are the names of a list's elements; false unless each has one of
// its own.
func elementNames(list []any) ([]string, bool) {
	var out []string
	for _, e := range list {
		m, _ := e.(map[string]any)
		name, ok := m["name"].(string)
		if !ok || slices.Contains(out, name) {
			return nil, false
		}
		out = append(out, name)
	}
	return out, true
}

var pointer = strings.NewReplacer("~", "~0", "/", "~1")

// escape writes a key for a path. Source: RFC 6901.
func escape(key string) string { return pointer.Replace(key) }
