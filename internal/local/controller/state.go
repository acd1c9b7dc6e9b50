package controller

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/config"
)

// stateFolder is where the pilot reads what an API server would tell it. Each
// object is a file, replaced as a whole.
type stateFolder struct {
	dir     string
	written map[string][]byte
	// generation counts the states that differ from the one before.
	generation int64
}

func newStateFolder(dir string) *stateFolder {
	return &stateFolder{dir: dir, written: map[string][]byte{}}
}

// sync makes the folder hold just these objects, by file name. A changed state
// gets a new generation, which is written last: who has read it has read all.
func (f *stateFolder) sync(objects map[string]any) error {
	changed := false
	for name, o := range objects {
		text, err := json.Marshal(o)
		if err != nil {
			return fmt.Errorf("state %s: %w", name, err)
		}
		if bytes.Equal(f.written[name], text) {
			continue
		}
		if err := replaceFile(filepath.Join(f.dir, name), text); err != nil {
			return fmt.Errorf("state %s: %w", name, err)
		}
		f.written[name] = text
		changed = true
	}
	for name := range f.written {
		if _, ok := objects[name]; ok {
			continue
		}
		if err := os.Remove(filepath.Join(f.dir, name)); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("state %s: %w", name, err)
		}
		delete(f.written, name)
		changed = true
	}
	if !changed {
		return nil
	}
	f.generation++
	return f.mark()
}

// mark writes the generation, where pilot.Sync reads it.
func (f *stateFolder) mark() error {
	text, err := json.Marshal(&corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: SystemNamespace, Name: "weft-state",
			Annotations: map[string]string{"weft.mesh/generation": strconv.FormatInt(f.generation, 10)},
		},
	})
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(f.dir, "configmap.weft-state.json"), text)
}

func replaceFile(name string, text []byte) error {
	tmp := name + ".new"
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

// observed are the objects that a cluster's controllers would have made.
func observed(services []*corev1.Service, pods []podFacts) map[string]any {
	out := map[string]any{}
	for _, p := range pods {
		if p.entry != nil {
			out[fileName("workloadentry", p.pod.Namespace, p.pod.Name)] = p.observed()
			continue
		}
		out[fileName("pod", p.pod.Namespace, p.pod.Name)] = p.pod
	}
	for _, svc := range services {
		svc = withType(svc)
		out[fileName("service", svc.Namespace, svc.Name)] = svc
		for _, s := range endpointSlices(svc, pods) {
			out[fileName("endpointslice-"+strings.ToLower(string(s.AddressType)), s.Namespace, s.Name)] = s
		}
	}
	return out
}

func withType(svc *corev1.Service) *corev1.Service {
	out := svc.DeepCopy()
	out.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}
	return out
}

func fileName(kind, namespace, name string) string {
	return kind + "." + namespace + "." + name + ".json"
}

// services are the user's Services with addresses, in order.
func services(set config.Set, a *addresses, ranges serviceRanges) (out []*corev1.Service) {
	for _, o := range set.Of(config.Service).All() {
		if svc, ok := o.Spec.(*corev1.Service); ok {
			out = append(out, a.withAddresses(svc, ranges.v4, ranges.v6))
		}
	}
	return out
}
