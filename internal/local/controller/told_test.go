package controller

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/local/pod"
)

// A pod whose probes have just succeeded is not called ready before the mesh
// has been told: a call that is sent on the strength of it would find nobody.
func TestReadyWhenTold(t *testing.T) {
	spec := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	spec.Spec.Containers = []corev1.Container{{Name: "app"}}
	r := &runner{spec: spec, pod: &pod.Pod{}, ready: map[string]bool{"app": true}}
	c := &Controller{runners: map[string]*runner{"default/web": r}, state: &stateFolder{generation: 7}}
	if st := r.status(c.told.ready); st.Ready || st.Phase == "Running" {
		t.Errorf("got %s, ready %v, before the mesh was told", st.Phase, st.Ready)
	}
	c.tell(c.facts())
	if st := r.status(c.told.ready); !st.Ready || st.Phase != "Running" || c.told.generation != 7 {
		t.Errorf("got %s, ready %v, generation %d, after the mesh was told", st.Phase, st.Ready, c.told.generation)
	}
}
