package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/weftmesh/weft/internal/local/controller"
	"github.com/weftmesh/weft/internal/model"
)

// podChoice says which pods a name means, those that will come too.
type podChoice struct {
	namespace, pod, workload string
	selector                 map[string]string // of a Service
}

func (c podChoice) takes(p controller.PodStatus) bool {
	switch {
	case p.Namespace != c.namespace || p.Phase == "Terminating":
		return false
	case c.selector != nil:
		return model.Selects(c.selector, p.Labels)
	case c.workload != "":
		return p.Workload == c.workload
	}
	return p.Name == c.pod
}

// The kinds that may stand before a name, as kubectl has them.
const kindPod, kindService, kindWorkload = "pod", "service", "workload"

var kindsOfNames = map[string]string{
	"pod": kindPod, "po": kindPod, "svc": kindService, "service": kindService,
	"deploy": kindWorkload, "deployment": kindWorkload, "workload": kindWorkload, "statefulset": kindWorkload, "sts": kindWorkload,
	"daemonset": kindWorkload, "ds": kindWorkload, "job": kindWorkload,
}

// choose finds what a name means: the pod of that name, else the Service, else the
// workload, else the one pod whose name begins so. Of a kind that stands before it,
// only that. namespace "" is any, if there is no doubt.
func (r reach) choose(ctx context.Context, name, namespace string) (podChoice, error) {
	kind := ""
	if before, rest, ok := strings.Cut(name, "/"); ok {
		if kind = kindsOfNames[before]; kind == "" {
			namespace = before
		}
		name = rest
	}
	pods, err := r.list(ctx)
	if err != nil {
		return podChoice{}, err
	}
	pods = slices.DeleteFunc(slices.Clone(pods), func(p controller.PodStatus) bool { return namespace != "" && p.Namespace != namespace })
	found, err := r.named(ctx, kind, name, namespace, pods)
	if err == nil && len(found) == 0 && (kind == "" || kind == kindPod) {
		var one controller.PodStatus
		if one, err = find(controller.Status{Pods: pods}, name, namespace); err == nil {
			found = []podChoice{{namespace: one.Namespace, pod: one.Name}}
		}
	}
	switch {
	case err != nil && kind == "":
		return podChoice{}, fmt.Errorf("%w; nor is there such a Service or workload", err)
	case err != nil:
		return podChoice{}, err
	case len(found) == 0:
		return podChoice{}, fmt.Errorf("%s %q: there is none", kind, name)
	case len(found) > 1:
		return podChoice{}, fmt.Errorf("%s is in namespaces %s and %s: say which with -n", name, found[0].namespace, found[1].namespace)
	}
	return found[0], found[0].check(name, pods)
}

// named are the things of exactly that name, of the first kind that has some, each
// in another namespace.
func (r reach) named(ctx context.Context, kind, name, namespace string, pods []controller.PodStatus) (found []podChoice, err error) {
	add := func(c podChoice) {
		if !slices.ContainsFunc(found, func(o podChoice) bool { return o.namespace == c.namespace }) {
			found = append(found, c)
		}
	}
	for _, p := range pods {
		if p.Name == name && (kind == "" || kind == kindPod) {
			add(podChoice{namespace: p.Namespace, pod: name})
		}
	}
	if len(found) == 0 && (kind == "" || kind == kindService) {
		services, err := r.services(ctx, namespace)
		if err != nil && (kind != "" || !apierrors.IsForbidden(err)) { // who may see pods alone may name those
			return nil, err
		}
		for _, s := range services {
			if s.Name == name && (namespace == "" || s.Namespace == namespace) && len(s.Spec.Selector) > 0 {
				add(podChoice{namespace: s.Namespace, selector: s.Spec.Selector})
			}
		}
	}
	if len(found) > 0 || kind != "" && kind != kindWorkload {
		return found, nil
	}
	for _, p := range pods {
		if p.Workload == name {
			add(podChoice{namespace: p.Namespace, workload: name})
		}
	}
	return found, nil
}

// check is an error where no pod that is meant has an Envoy.
func (c podChoice) check(name string, pods []controller.PodStatus) error {
	err := errors.New(name + ": no pod of it runs")
	for _, p := range pods {
		switch {
		case !c.takes(p):
		case p.Proxyless:
			err = fmt.Errorf("pod %s has no Envoy: its gRPC library is its proxy, and tells nothing of single requests", podName(p))
		case p.Synced == "":
			err = fmt.Errorf("pod %s has no proxy", podName(p))
		default:
			return nil
		}
	}
	return err
}

// service is a Kubernetes Service.
type service = corev1.Service
