package config

import (
	"slices"
	"testing"

	security "istio.io/api/security/v1beta1"

	"github.com/weftmesh/weft/internal/diag"
)

// TestGuardsAreReadAsFarAsTheyCanBe: of a guard with mistakes the rest is an
// object, and what is lacking is told; of other kinds nothing is.
func TestGuardsAreReadAsFarAsTheyCanBe(t *testing.T) {
	const policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\n"
	for name, c := range map[string]struct {
		text   string
		unread []diag.Path
	}{
		"a field":               {policy + "spec: {rules: [{to: [{operation: {paths: [/a], method: [GET]}}]}]}\n", []diag.Path{"spec.rules[0].to[0].operation.method"}},
		"an enum":               {policy + "spec: {action: DENNY, rules: [{to: [{operation: {paths: [/a]}}]}]}\n", []diag.Path{"spec.action"}},
		"a type":                {policy + "spec: {rules: [{to: [{operation: {paths: [/a], ports: 80}}]}]}\n", []diag.Path{"spec.rules[0].to[0].operation.ports"}},
		"a field, type, and so": {policy + "spec: {rules: [{to: [{operation: {paths: [/a], ports: [1], verbs: []}}], when: x}]}\n", []diag.Path{"spec.rules[0].to[0].operation.verbs", "spec.rules[0].to[0].operation.ports", "spec.rules[0].when"}},
		"beside spec":           {policy + "spec: {rules: [{to: [{operation: {paths: [/a]}}]}]}\nrules: []\n", []diag.Path{"rules"}},
		"two":                   {policy + "spec: {selectors: {}, rules: [{to: [{operation: {paths: [/a]}, form: {}}]}]}\n", []diag.Path{"spec.rules[0].to[0].form", "spec.selectors"}},
	} {
		objects, found := Decode("a.yaml", []byte(c.text))
		if len(objects) != 1 || len(found) != len(c.unread) {
			t.Errorf("%s: %d objects, findings %v", name, len(objects), found)
			continue
		}
		spec := objects[0].Spec.(*security.AuthorizationPolicy)
		if !slices.Equal(objects[0].Unread, c.unread) || spec.GetRules()[0].GetTo()[0].GetOperation().GetPaths()[0] != "/a" {
			t.Errorf("%s: unread %q, the rest %v", name, objects[0].Unread, spec)
		}
	}
	for name, text := range map[string]string{
		"all of it":             policy + "spec: [a]\n",
		"all rules":             policy + "spec: {rules: {}}\n",
		"RequestAuthentication": "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: a}\nspec: {jwtRules: 1}\n",
	} {
		if objects, found := Decode("a.yaml", []byte(text)); len(objects) != 1 || objects[0].Unread == nil || len(found) == 0 {
			t.Errorf("%s: %v, %v", name, objects, found)
		}
	}
	if objects, _ := Decode("a.yaml", []byte("apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a}\nspec: {serverss: []}\n")); len(objects) != 0 {
		t.Errorf("a Gateway with an unknown field is read: %v", objects[0])
	}
}
