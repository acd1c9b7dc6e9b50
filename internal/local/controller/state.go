package controller

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
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
}

func newStateFolder(dir string) *stateFolder {
	return &stateFolder{dir: dir, written: map[string][]byte{}}
}

// sync makes the folder hold just these objects, by file name.
func (f *stateFolder) sync(objects map[string]any) error {
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
	}
	for name := range f.written {
		if _, ok := objects[name]; ok {
			continue
		}
		if err := os.Remove(filepath.Join(f.dir, name)); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("state %s: %w", name, err)
		}
		delete(f.written, name)
	}
	return nil
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
