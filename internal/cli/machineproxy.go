package cli

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/weftmesh/weft/internal/config"
)

var (
	proxyConfigKind = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1beta1", Resource: "proxyconfigs"}
	configMapKind   = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
)

// variable is one of the agent's environment.
type variable struct{ Name, Value string }

// agentReads are the names of variables that proxyMetadata may give the agent of a machine:
// those that it reads, and none by which a program finds others.
var agentReads = regexp.MustCompile(`^(ISTIO_META_[A-Z0-9_]+|SECRET_TTL|WEFT_(MESH|APP)_SAMPLES)$`)

// configure fills in what MeshConfig, ProxyConfigs and the group's annotation say of
// the machine's proxy, as the injector tells a pod. Who may not read the first two
// joins without them, and m says so.
func (o *outside) configure(ctx context.Context, entry *unstructured.Unstructured, m *joining) error {
	set := config.Set{}
	add := func(u *unstructured.Unstructured) error {
		raw, err := u.MarshalJSON()
		if err != nil {
			return err
		}
		objects, wrong := config.Decode(u.GetName(), raw)
		if len(wrong) > 0 {
			return fmt.Errorf("%s %s/%s: %v; weft analyze says what is wrong with it", u.GetKind(), u.GetNamespace(), u.GetName(), wrong[0])
		}
		for _, one := range objects {
			set = set.With(one)
		}
		return nil
	}
	mesh, err := o.any.Resource(configMapKind).Namespace(o.kube.namespace).Get(ctx, "istio", metav1.GetOptions{})
	if err == nil {
		err = add(mesh)
	}
	if err = m.unreadable(err); err != nil {
		return err
	}
	for _, namespace := range slices.Compact([]string{o.in, o.kube.namespace}) {
		all, err := o.any.Resource(proxyConfigKind).Namespace(namespace).List(ctx, metav1.ListOptions{})
		if err == nil {
			for i := range all.Items {
				if err = add(&all.Items[i]); err != nil {
					break
				}
			}
		}
		if err = m.unreadable(err); err != nil {
			return err
		}
	}
	return m.proxy(set, entry, o.kube.namespace)
}

// unreadable notes what may not be read; other errors stay.
func (m *joining) unreadable(err error) error {
	switch {
	case apierrors.IsForbidden(err):
		m.Unread = err.Error()
		return nil
	case apierrors.IsNotFound(err):
		return nil
	}
	return err
}

// proxy takes what holds for the machine of an entry.
func (m *joining) proxy(set config.Set, entry *unstructured.Unstructured, root string) error {
	settings, err := set.Proxy(config.ProxyTarget{Root: root, Namespace: m.Namespace, Labels: entry.GetLabels(), Annotation: entry.GetAnnotations()[config.ProxyAnnotation]})
	if err != nil {
		return fmt.Errorf("WorkloadEntry %s/%s: %w", m.Namespace, m.Entry, err)
	}
	text, wrong := config.AgentProxy(settings)
	if len(wrong) > 0 {
		return fmt.Errorf("ProxyConfig of WorkloadEntry %s/%s: %w", m.Namespace, m.Entry, wrong[0])
	}
	if text != "" {
		m.Variables = append(m.Variables, variable{config.AgentVariable, text})
	}
	for _, name := range slices.Sorted(maps.Keys(settings.GetProxyMetadata())) {
		if agentReads.MatchString(name) && name != "ISTIO_META_WORKLOAD_NAME" {
			m.Variables = append(m.Variables, variable{name, settings.GetProxyMetadata()[name]})
		}
	}
	if n := settings.GetConcurrency().GetValue(); n > 0 {
		m.Arguments = append(m.Arguments, fmt.Sprintf("--concurrency=%d", n))
	}
	if d := settings.GetTerminationDrainDuration().AsDuration(); d > 0 {
		m.Arguments = append(m.Arguments, "--drain-duration="+d.String())
	}
	return nil
}
