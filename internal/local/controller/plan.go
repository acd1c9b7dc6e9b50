package controller

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/config"
)

// workload is one Deployment as it shall run.
type workload struct {
	namespace, name string
	replicas        int
	template        corev1.PodTemplateSpec
	// hash changes when the pods must be made anew.
	hash string
	role role
}

// role tells pods of users from the mesh's own.
type role int

const (
	roleApp role = iota
	roleGateway
	roleControl // pilot, ca: no proxy
	roleMachine // a process that its owner starts: no app
)

func (w *workload) key() string { return w.namespace + "/" + w.name }

// workloads are the Deployments of a set, by key, and the gateway. env gives
// what a template refers to (ConfigMaps, Secrets), so that a change of it makes
// new pods.
func workloads(set config.Set) map[string]*workload {
	out := map[string]*workload{}
	gateway := gatewayWorkload()
	out[gateway.key()] = gateway
	for _, o := range set.Of(config.Deployment).All() {
		d, ok := o.Spec.(*appsv1.Deployment)
		if !ok {
			continue
		}
		replicas := 1
		if d.Spec.Replicas != nil {
			replicas = int(*d.Spec.Replicas)
		}
		w := &workload{namespace: o.Namespace, name: o.Name, replicas: replicas, template: d.Spec.Template}
		w.hash = templateHash(set, w)
		out[w.key()] = w
	}
	return out
}

// gatewayWorkload is the ingress gateway that every local mesh has.
func gatewayWorkload() *workload {
	return &workload{
		namespace: SystemNamespace, name: GatewayName, replicas: 1, role: roleGateway, hash: "gateway",
		template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": GatewayName, "istio": "ingressgateway"}},
			Spec:       corev1.PodSpec{ServiceAccountName: GatewayName},
		},
	}
}

// templateHash covers the template and the ConfigMaps and Secrets it names.
func templateHash(set config.Set, w *workload) string {
	h := sha256.New()
	enc := json.NewEncoder(h)
	_ = enc.Encode(w.template) // a hash takes every write
	for _, ref := range references(w) {
		if o, ok := set.Of(ref.kind).Get(w.namespace + "/" + ref.name); ok {
			_ = enc.Encode(o.Spec)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:5])
}

type reference struct {
	kind config.Kind
	name string
}

// references are the ConfigMaps and Secrets that a template's environment
// comes from, in the order of the template.
func references(w *workload) (out []reference) {
	for _, c := range w.template.Spec.Containers {
		for _, from := range c.EnvFrom {
			if r := from.ConfigMapRef; r != nil {
				out = append(out, reference{config.ConfigMap, r.Name})
			}
			if r := from.SecretRef; r != nil {
				out = append(out, reference{config.Secret, r.Name})
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom == nil {
				continue
			}
			if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
				out = append(out, reference{config.ConfigMap, r.Name})
			}
			if r := e.ValueFrom.SecretKeyRef; r != nil {
				out = append(out, reference{config.Secret, r.Name})
			}
		}
	}
	return out
}

// member is a pod of a workload, as plan sees it.
type member struct {
	key   string
	hash  string
	ready bool
	born  int64 // nanoseconds, for the order
}

// plan says how many pods of a workload to start and which to stop. New pods
// of a changed template are started first; old ones go as the new become
// ready, so that never fewer than replicas are ready that were before.
func plan(members []member, replicas int, hash string) (start int, stop []string) {
	var fresh, old []member
	readyFresh := 0
	for _, m := range members {
		switch {
		case m.hash != hash:
			old = append(old, m)
		default:
			fresh = append(fresh, m)
			if m.ready {
				readyFresh++
			}
		}
	}
	order(old)
	order(fresh)
	start = max(0, replicas-len(fresh))
	keepOld := max(0, replicas-readyFresh)
	for _, m := range old[:max(0, len(old)-keepOld)] {
		stop = append(stop, m.key)
	}
	for _, m := range fresh[:max(0, len(fresh)-replicas)] {
		stop = append(stop, m.key)
	}
	return start, stop
}

// order puts first what is to go first: what is not ready, then the youngest.
func order(ms []member) {
	slices.SortFunc(ms, func(a, b member) int {
		switch {
		case a.ready != b.ready:
			if b.ready {
				return -1
			}
			return 1
		default:
			return cmp.Compare(b.born, a.born)
		}
	})
}
