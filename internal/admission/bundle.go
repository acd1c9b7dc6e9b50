package admission

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// The ConfigMap with the mesh's roots, and its key. Source: Istio.
const (
	RootsConfigMap = "istio-ca-root-cert"
	rootsKey       = "root-cert.pem"
)

// RetryAfter is when a failed write is tried again.
const RetryAfter = 5 * time.Second

// Kept names an object to follow.
type Kept struct {
	Resource, Namespace, Name string
	Object                    runtime.Object // an empty one of its type
}

// ConfigMap is one to follow.
func ConfigMap(namespace, name string) Kept {
	return Kept{"configmaps", namespace, name, &corev1.ConfigMap{}}
}

// Follow keeps one object, so that rights can be limited to its name, and calls
// poke after each change. The store is empty while there is no such object.
func Follow(ctx context.Context, from rest.Interface, k Kept, poke func()) Followed {
	call := func(any) { poke() }
	store, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(from, k.Resource, k.Namespace, fields.OneTermEqualSelector("metadata.name", k.Name)),
		ObjectType:    k.Object,
		Handler:       cache.ResourceEventHandlerFuncs{AddFunc: call, UpdateFunc: func(_, now any) { poke() }, DeleteFunc: call},
	})
	go controller.RunWithContext(ctx)
	return Followed{store, controller.HasSynced}
}

// Followed holds an object that is followed, or none; Known says whether the API
// server has told which.
type Followed struct {
	cache.Store
	Known func() bool
}

// Data reads a key of the ConfigMap that a store of Follow holds.
func Data(s cache.Store, key string) (string, bool) {
	for _, o := range s.List() {
		if m, ok := o.(*corev1.ConfigMap); ok {
			text, there := m.Data[key]
			return text, there
		}
	}
	return "", false
}

// Bundle keeps the caBundle of one webhook configuration.
type Bundle struct {
	Client  rest.Interface // of admissionregistration.k8s.io/v1
	Hooks   Kept           // the configuration
	Manager string         // field manager of the writes
	roots   Followed       // the ConfigMap with the roots
	hooks   Followed
}

// Follow begins to follow the roots, by core's client in a namespace, and the
// configuration. poke is called when either changes, so that Keep is due.
func (b *Bundle) Follow(ctx context.Context, core rest.Interface, namespace string, poke func()) {
	b.roots = Follow(ctx, core, ConfigMap(namespace, RootsConfigMap), poke)
	b.hooks = Follow(ctx, b.Client, b.Hooks, poke)
}

// Keep puts the mesh's roots into every webhook of the configuration, and
// reports whether it had to. Each replica does so: they read the same roots,
// and write only what differs.
func (b *Bundle) Keep(ctx context.Context) (wrote bool, err error) {
	roots, there := Data(b.roots, rootsKey)
	if !there || roots == "" {
		return false, nil // the CA has not written them yet
	}
	for _, o := range b.hooks.List() {
		patch, err := bundlePatch(hooksOf(o), []byte(roots))
		if err != nil {
			return wrote, err
		}
		if patch == nil {
			continue
		}
		err = b.Client.Patch(types.JSONPatchType).Resource(b.Hooks.Resource).Name(b.Hooks.Name).
			VersionedParams(&metav1.PatchOptions{FieldManager: b.Manager}, metav1.ParameterCodec).Body(patch).Do(ctx).Error()
		if err != nil {
			return wrote, fmt.Errorf("caBundle of %s %s: %w", b.Hooks.Resource, b.Hooks.Name, err)
		}
		wrote = true
	}
	return wrote, nil
}

// Trusted are the bundles, PEM, by which the API server verifies whom it calls: one
// a webhook. known is whether that has been read. Call it after Follow.
func (b *Bundle) Trusted() (bundles [][]byte, known bool) {
	for _, o := range b.hooks.List() {
		for _, h := range hooksOf(o) {
			bundles = append(bundles, h.bundle)
		}
	}
	return bundles, b.hooks.Known()
}

// hook is one webhook of a configuration, as far as it matters here.
type hook struct {
	name   string
	bundle []byte
}

func hooksOf(configuration any) (out []hook) {
	switch c := configuration.(type) {
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		for _, w := range c.Webhooks {
			out = append(out, hook{w.Name, w.ClientConfig.CABundle})
		}
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		for _, w := range c.Webhooks {
			out = append(out, hook{w.Name, w.ClientConfig.CABundle})
		}
	}
	return out
}

// operation is one of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// bundlePatch is the JSON patch that makes every caBundle roots; nil if they
// are. It tests that the webhooks are those that were read, for it names them
// by number.
func bundlePatch(hooks []hook, roots []byte) ([]byte, error) {
	if !slices.ContainsFunc(hooks, func(h hook) bool { return !bytes.Equal(h.bundle, roots) }) {
		return nil, nil
	}
	var ops []operation
	for i, h := range hooks {
		at := fmt.Sprintf("/webhooks/%d", i)
		ops = append(ops, operation{"test", at + "/name", h.name}, operation{"add", at + "/clientConfig/caBundle", roots})
	}
	return json.Marshal(ops)
}
