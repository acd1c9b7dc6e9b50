package install

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// places are what column "where" of docs/rbac.md calls the namespaces of a role;
// a ClusterRole has none. One namespace of credentials is more than Weft's own.
var places = map[string][]string{"everywhere": {""}, "own": {DefaultNamespace}, "gateways": {DefaultNamespace, "edge"}}

// TestEveryRightIsExplained holds docs/rbac.md to the chart's roles, both ways.
func TestEveryRightIsExplained(t *testing.T) {
	for scope, c := range map[string]struct {
		sets []string
		rows []string // of column "one namespace"
	}{
		"cluster":   {[]string{"pilot.credentialNamespaces={edge}"}, []string{"yes", "no"}},
		"namespace": {[]string{NamespacedSet}, []string{"yes", "only"}},
	} {
		t.Run(scope, func(t *testing.T) {
			given := rights(t, rendered(t, Inputs{Sets: c.sets}))
			told := explained(t, c.rows, scope == "namespace")
			for _, r := range slices.SortedFunc(maps.Keys(given), right.compare) {
				if !told[r] {
					t.Errorf("no row of docs/rbac.md tells why: %+v", r)
				}
			}
			for _, r := range slices.SortedFunc(maps.Keys(told), right.compare) {
				if !given[r] {
					t.Errorf("docs/rbac.md has a row, and the chart no rule: %+v", r)
				}
			}
		})
	}
}

// TestPilotWithoutOwnCredentials: where gateways run elsewhere, the pilot can be
// kept from the CA's key; what it reads there is the MeshConfig.
func TestPilotWithoutOwnCredentials(t *testing.T) {
	secrets := func(sets ...string) (in []string) {
		given := rights(t, rendered(t, Inputs{Sets: append(sets, "pilot.credentialNamespaces={edge}")}))
		for r := range given {
			if r.account == "weft-pilot" && r.resource == "secrets" && r.verb == "list" {
				in = append(in, r.namespace)
			}
		}
		slices.Sort(in)
		return in
	}
	if in := secrets(); !slices.Equal(in, []string{"edge", DefaultNamespace}) {
		t.Errorf("by default it reads Secrets of %v", in)
	}
	if in := secrets("pilot.ownCredentials=null"); !slices.Equal(in, []string{"edge", DefaultNamespace}) {
		t.Errorf("with the values of an older release it reads Secrets of %v", in)
	}
	if in := secrets("pilot.ownCredentials=false"); !slices.Equal(in, []string{"edge"}) {
		t.Errorf("without its own it reads Secrets of %v", in)
	}
}

// right is one verb on one kind of one account. namespace is "" for all, name ""
// for objects of any name.
type right struct{ account, namespace, group, resource, name, verb string }

func (r right) compare(other right) int {
	return strings.Compare(fmt.Sprint(r), fmt.Sprint(other))
}

// rights are those that the roles of a manifest give, by their bindings.
func rights(t *testing.T, m *Manifest) map[right]bool {
	t.Helper()
	out, bound := map[right]bool{}, map[string]bool{}
	for _, o := range m.Objects {
		if !strings.HasSuffix(o.GetKind(), "RoleBinding") {
			continue
		}
		var b rbacv1.RoleBinding
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &b); err != nil || len(b.Subjects) != 1 {
			t.Fatalf("%s: %v, %d subjects", title(o), err, len(b.Subjects))
		}
		name := strings.TrimSuffix(title(o), o.GetName())
		name = strings.Replace(name, o.GetKind(), b.RoleRef.Kind, 1) + b.RoleRef.Name
		bound[name] = true
		for _, rule := range object[rbacv1.ClusterRole](t, m, name).Rules {
			each(rule, func(r right) {
				r.account, r.namespace = b.Subjects[0].Name, b.Namespace
				out[r] = true
			})
		}
	}
	for _, o := range m.Objects {
		if isRole(o) && !bound[title(o)] {
			t.Errorf("%s is bound to nobody", title(o))
		}
	}
	return out
}

func isRole(o *unstructured.Unstructured) bool {
	return o.GetKind() == "Role" || o.GetKind() == "ClusterRole"
}

func each(rule rbacv1.PolicyRule, do func(right)) {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, named := range names {
				for _, verb := range rule.Verbs {
					do(right{group: group, resource: resource, name: named, verb: verb})
				}
			}
		}
	}
}

// explained are the rights in the table of docs/rbac.md, of the rows whose column
// "one namespace" is one of kinds. With own, all are of Weft's namespace.
func explained(t *testing.T, kinds []string, own bool) map[right]bool {
	t.Helper()
	text, err := os.ReadFile("../docs/rbac.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[right]bool{}
	for line := range strings.Lines(string(text)) {
		cell := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cell {
			cell[i] = strings.TrimSpace(cell[i])
		}
		if len(cell) != 8 || !strings.HasPrefix(cell[0], "weft-") {
			continue
		}
		if cell[7] == "" || places[cell[1]] == nil || !slices.Contains([]string{"yes", "no", "only"}, cell[6]) {
			t.Errorf("docs/rbac.md: a row without a reason, a place, or yes, no or only: %s", line)
		}
		if slices.Contains(kinds, cell[6]) {
			row(cell, own, out)
		}
	}
	return out
}

func row(cell []string, own bool, out map[right]bool) {
	namespaces := places[cell[1]]
	if own {
		namespaces = places["own"]
	}
	rule := rbacv1.PolicyRule{APIGroups: []string{strings.TrimPrefix(cell[2], "core")}, Resources: strings.Split(cell[3], ", "), Verbs: strings.Split(cell[5], ", ")}
	if cell[4] != "" {
		rule.ResourceNames = strings.Split(cell[4], ", ")
	}
	for _, namespace := range namespaces {
		each(rule, func(r right) {
			r.account, r.namespace = cell[0], namespace
			out[r] = true
		})
	}
}
