package injector

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"

	"github.com/weftmesh/weft/internal/config"
)

var proxyConfigs = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1beta1", Resource: "proxyconfigs"}

// firstLook bounds the wait for the first list of ProxyConfigs: a cluster
// without their definition has pods to inject too.
const firstLook = 5 * time.Second

// followProxyConfigs keeps the cluster's ProxyConfigs. It returns once they have
// been listed, or after firstLook.
func followProxyConfigs(ctx context.Context, from dynamic.Interface, poke func()) cache.Store {
	all := from.Resource(proxyConfigs)
	call := func(any) { poke() }
	store, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return all.List(ctx, o) },
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return all.Watch(ctx, o)
			},
		},
		ObjectType: &unstructured.Unstructured{},
		Handler:    cache.ResourceEventHandlerFuncs{AddFunc: call, UpdateFunc: func(_, _ any) { poke() }, DeleteFunc: call},
	})
	go controller.RunWithContext(ctx)
	wait, cancel := context.WithTimeout(ctx, firstLook)
	defer cancel()
	cache.WaitForCacheSync(wait.Done(), controller.HasSynced)
	return store
}

// proxyConfigs are the objects that are followed, by key, and a text that
// differs when any of them does. What cannot be read is the pilot's to report.
func (s stores) proxyConfigs() (out []*config.Object, versions string) {
	if s.proxies == nil {
		return nil, ""
	}
	var all []string
	for _, o := range s.proxies.List() {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		raw, err := u.MarshalJSON()
		if err != nil {
			continue
		}
		if object, _ := config.DecodeJSON(raw); object != nil {
			out = append(out, object)
			all = append(all, string(u.GetUID())+" "+u.GetResourceVersion())
		}
	}
	slices.SortFunc(out, func(a, b *config.Object) int { return cmp.Compare(a.Key(), b.Key()) })
	slices.Sort(all)
	return out, strings.Join(all, "\n")
}
