package install

import (
	"fmt"
	"strings"
	"testing"
)

// aTeam has a Weft of its own namespace, by weft install --namespaced.
const aTeam = `
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: weft-pilot, namespace: team, labels: {app: istiod, app.kubernetes.io/part-of: weft}}
spec:
  selector: {matchLabels: {app: istiod}}
  template:
    metadata: {labels: {app: istiod}}
    spec: {containers: [{name: pilot, image: pilot}]}
`

// The CRDs stay while a Weft in another namespace needs them.
func TestPurgeBesideANamespace(t *testing.T) {
	b := newBench(t)
	b.apply(aTeam)
	defer b.delete(aTeam)
	if _, err := b.c.Plan(t.Context(), "", "", true); err == nil || !strings.Contains(err.Error(), "team/weft-pilot") {
		t.Errorf("the purge beside the Weft of a namespace: %v", err)
	}
}

// A namespace that a mesh of the whole cluster serves takes none of its own.
func TestNamespaceOfAnother(t *testing.T) {
	b := newBench(t)
	const roots = `{apiVersion: v1, kind: ConfigMap, metadata: {name: istio-ca-root-cert, namespace: default}, data: {root-cert.pem: x}}`
	const ca = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: weft-ca, namespace: default, labels: {app.kubernetes.io/part-of: weft}}
spec:
  selector: {matchLabels: {app: weft-ca}}
  template:
    metadata: {labels: {app: weft-ca}}
    spec: {containers: [{name: ca, image: ca}]}
`
	served := func() bool {
		found, err := b.c.Within("default").CheckBefore(t.Context(), "default")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(fmt.Sprint(found), "serves this namespace already")
	}
	if served() {
		t.Error("nobody serves it")
	}
	b.apply(roots)
	defer b.delete(roots)
	if !served() {
		t.Error("who publishes roots there is not seen")
	}
	b.apply(ca)
	defer b.delete(ca)
	if served() {
		t.Error("its own CA's roots are taken for another's")
	}
}
