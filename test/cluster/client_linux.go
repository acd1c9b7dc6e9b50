package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
)

// clients of the API server, made at first use.
type clients struct {
	typed   *kubernetes.Clientset
	dynamic *dynamic.DynamicClient
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

func (b *base) client() (*clients, error) {
	b.once.Do(func() {
		c := &clients{}
		if c.typed, b.failed = kubernetes.NewForConfig(b.config); b.failed != nil {
			return
		}
		if c.dynamic, b.failed = dynamic.NewForConfig(b.config); b.failed != nil {
			return
		}
		c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.typed.Discovery()))
		b.clients = c
	})
	return b.clients, b.failed
}

// Clientset is a client of an administrator, without limits of its own.
func (b *base) Clientset() (*kubernetes.Clientset, error) {
	c, err := b.client()
	if err != nil {
		return nil, err
	}
	return c.typed, nil
}

// Ready returns when the API server serves.
func (b *base) Ready(ctx context.Context) error {
	c, err := b.client()
	if err != nil {
		return err
	}
	return poll(ctx, "API server", func(ctx context.Context) error {
		_, err := c.typed.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
}

// Apply applies a stream of YAML documents by server-side apply, in their order.
// An object without a namespace whose kind has one goes to "default". A kind
// whose CRD came just before is waited for.
func (b *base) Apply(ctx context.Context, manifests string) error {
	return b.each(manifests, func(object *unstructured.Unstructured) error {
		return poll(ctx, describe(object), func(ctx context.Context) error { return b.apply(ctx, object) })
	})
}

// Delete deletes the objects of a stream of YAML documents; those that are not
// there are no error. It waits until a CRD is gone: what is applied to one that
// is about to go would go with it.
func (b *base) Delete(ctx context.Context, manifests string) error {
	return b.each(manifests, func(object *unstructured.Unstructured) error {
		resource, err := b.resource(object)
		if err != nil {
			return err
		}
		if err := resource.Delete(ctx, object.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete %s: %w", describe(object), err)
		}
		if object.GetKind() != "CustomResourceDefinition" {
			return nil
		}
		return poll(ctx, describe(object), func(ctx context.Context) error {
			_, err := resource.Get(ctx, object.GetName(), metav1.GetOptions{})
			switch {
			case apierrors.IsNotFound(err):
				return nil
			case err == nil:
				return errors.New("it is not gone yet")
			}
			return err
		})
	})
}

func (b *base) each(manifests string, do func(*unstructured.Unstructured) error) error {
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		if len(object.Object) == 0 {
			continue // an empty document
		}
		if err := do(object); err != nil {
			return err
		}
	}
}

func describe(object *unstructured.Unstructured) string {
	return object.GetKind() + " " + object.GetNamespace() + "/" + object.GetName()
}

// apply is permanent in its failures, but for a kind that is not served yet.
func (b *base) apply(ctx context.Context, object *unstructured.Unstructured) error {
	resource, err := b.resource(object)
	if meta.IsNoMatchError(err) {
		b.clients.mapper.Reset()
		return err
	}
	if err == nil {
		_, err = resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: "weft-test", Force: true})
	}
	if err != nil {
		return permanent{fmt.Errorf("apply %s: %w", describe(object), err)}
	}
	return nil
}

func (b *base) resource(object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	c, err := b.client()
	if err != nil {
		return nil, err
	}
	kind := object.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return c.dynamic.Resource(mapping.Resource), nil
	}
	if object.GetNamespace() == "" {
		object.SetNamespace(metav1.NamespaceDefault)
	}
	return c.dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace()), nil
}

// settle installs DNS and waits until the cluster can be used.
func (c *Cluster) settle(ctx context.Context, o Options) error {
	manifests, err := render("base.yaml", map[string]string{"DNS": dns.String(), "CoreDNS": corednsImage})
	if err != nil {
		return err
	}
	if err := c.Apply(ctx, string(manifests)); err != nil {
		return err
	}
	for n := 1; n <= c.nodes; n++ {
		if err := c.Node(n).Ready(ctx); err != nil {
			return err
		}
	}
	o.Progress("nodes are Ready")
	if err := c.Available(ctx, "kube-system", "coredns"); err != nil {
		return err
	}
	o.Progress("names resolve: the cluster is up")
	return nil
}

// Ready returns when Kubernetes says that the node is.
func (n Node) Ready(ctx context.Context) error {
	client, err := n.cluster.Clientset()
	if err != nil {
		return err
	}
	return poll(ctx, n.Name()+" to be Ready", func(ctx context.Context) error {
		node, err := client.CoreV1().Nodes().Get(ctx, n.Name(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("conditions %v", node.Status.Conditions)
	})
}

// Available returns when all replicas of a Deployment are, of its newest
// version.
func (c *Cluster) Available(ctx context.Context, namespace, deployment string) error {
	client, err := c.Clientset()
	if err != nil {
		return err
	}
	return poll(ctx, "Deployment "+namespace+"/"+deployment, func(ctx context.Context) error {
		d, err := client.AppsV1().Deployments(namespace).Get(ctx, deployment, metav1.GetOptions{})
		if err != nil {
			return err
		}
		want, s := int32(1), d.Status
		if d.Spec.Replicas != nil {
			want = *d.Spec.Replicas
		}
		if s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == want && s.AvailableReplicas == want && s.Replicas == want {
			return nil
		}
		return fmt.Errorf("%d replicas wanted, %d up to date, %d available, %d in all", want, s.UpdatedReplicas, s.AvailableReplicas, s.Replicas)
	})
}

// tails are the last lines of every log, for an error's text.
func (l layout) tails() string {
	var out bytes.Buffer
	logs, _ := filepath.Glob(l.log("*")) // the pattern is good
	for _, path := range logs {
		content, err := os.ReadFile(path)
		if err != nil || len(content) == 0 {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(content)), "\n")
		fmt.Fprintf(&out, "\n-- %s\n%s", filepath.Base(path), strings.Join(lines[max(0, len(lines)-5):], "\n"))
	}
	return out.String()
}
