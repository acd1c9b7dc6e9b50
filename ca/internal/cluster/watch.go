package cluster

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
)

// watch says what to watch, and what to call with each object that came, changed
// or went.
type watch struct {
	resource  string // of the core group
	namespace string // "" is all
	name      string // "" is all
	object    runtime.Object
	trim      func(runtime.Object) // drops what is not needed before it is kept
	each      func(namespace, name string)
}

// start watches until ctx is done, and returns the objects and whether they are
// complete. What cannot be listed is tried again by client-go, with a back-off.
func (c *Cluster) start(ctx context.Context, w watch) (cache.Store, cache.InformerSynced) {
	selector := fields.Everything()
	if w.name != "" { // lets the rights be limited to that name
		selector = fields.OneTermEqualSelector("metadata.name", w.name)
	}
	call := func(obj any) {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		if m, err := meta.Accessor(obj); err == nil {
			w.each(m.GetNamespace(), m.GetName())
		}
	}
	objects, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(c.api.CoreV1().RESTClient(), w.resource, w.namespace, selector),
		ObjectType:    w.object,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: call, UpdateFunc: func(_, now any) { call(now) }, DeleteFunc: call,
		},
		Transform: func(obj any) (any, error) {
			if m, err := meta.Accessor(obj); err == nil {
				m.SetManagedFields(nil)
				m.SetAnnotations(nil)
			}
			if o, ok := obj.(runtime.Object); ok && w.trim != nil {
				w.trim(o)
			}
			return obj, nil
		},
	})
	go controller.RunWithContext(ctx)
	return objects, controller.HasSynced
}

// watchSecrets returns a channel that receives after one of the two Secrets may
// have changed. Their contents are not kept: who looks reads them anew.
func (c *Cluster) watchSecrets(ctx context.Context) <-chan struct{} {
	poke := make(chan struct{}, 1)
	look := func() {
		select {
		case poke <- struct{}{}:
		default: // a look is due already
		}
	}
	var listed []cache.InformerSynced
	for _, name := range []string{PluggedIn, SelfMade} {
		_, synced := c.start(ctx, watch{
			resource: "secrets", namespace: c.opts.Namespace, name: name, object: &corev1.Secret{},
			trim: func(o runtime.Object) {
				if s, ok := o.(*corev1.Secret); ok {
					s.Data = nil
				}
			},
			each: func(string, string) { look() },
		})
		listed = append(listed, synced)
	}
	go func() {
		// What went before the watch began, no event tells of.
		if cache.WaitForCacheSync(ctx.Done(), listed...) {
			look()
		}
	}()
	return poke
}
