package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/flowcontrol"
)

const protobuf = "application/vnd.kubernetes.protobuf"

// clients reach the API server: one connection pool, one client for each API
// group and version.
type clients struct {
	config *rest.Config
	http   *http.Client
	codecs runtime.NegotiatedSerializer
	link   *link
	mu     sync.Mutex
	of     map[schema.GroupVersion]*rest.RESTClient
	served map[string]*group
}

func newClients(config *rest.Config, link *link) (*clients, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	addCustom(scheme)
	config.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(qps, burst)
	if config.UserAgent == "" {
		config.UserAgent = "weft-pilot"
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return &clients{
		config: config, http: client, codecs: serializer.NewCodecFactory(scheme).WithoutConversion(), link: link,
		of: map[schema.GroupVersion]*rest.RESTClient{}, served: map[string]*group{},
	}, nil
}

// client returns that of a group and version. Kubernetes' own kinds come as
// protobuf, which costs a fifth of JSON.
func (c *clients) client(gv schema.GroupVersion, custom bool) (*rest.RESTClient, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.of[gv]; found != nil {
		return found, nil
	}
	config := rest.CopyConfig(c.config)
	config.GroupVersion, config.NegotiatedSerializer = &gv, c.codecs
	config.APIPath = "/apis"
	if gv.Group == "" {
		config.APIPath = "/api"
	}
	config.ContentType, config.AcceptContentTypes = "application/json", "application/json"
	if !custom {
		config.ContentType, config.AcceptContentTypes = protobuf, protobuf+",application/json"
	}
	made, err := rest.RESTClientForConfigAndClient(config, c.http)
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", gv, err)
	}
	c.of[gv] = made
	return made, nil
}

// listWatch reads a kind in one of its versions. What becomes of each request
// is told to the link.
func (c *clients) listWatch(k kind, version string) (*cache.ListWatch, error) {
	client, err := c.client(k.at(version), k.custom)
	if err != nil {
		return nil, err
	}
	request := func(o *metav1.ListOptions) *rest.Request {
		o.FieldSelector = k.fields
		return client.Get().Namespace(k.namespace).Resource(k.resource).VersionedParams(o, metav1.ParameterCodec)
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := request(&o).Do(ctx).Get()
			c.link.told(ctx, k.what(), err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.Watch = true
			w, err := request(&o).Watch(ctx)
			c.link.told(ctx, k.what(), err)
			return w, err
		},
	}, nil
}

// group is what the API server served of an API group at a time.
type group struct {
	at        time.Time
	resources map[string]string // the preferred version of each
}

// groupAge is how old an answer about a group may be, so that the kinds of a
// group that are missing ask once together.
const groupAge = time.Second

// version returns in which version the API server serves a kind; "" if it
// does not serve it.
func (c *clients) version(ctx context.Context, k kind) (string, error) {
	if !k.custom {
		return k.versions[0], nil
	}
	c.mu.Lock()
	known := c.served[k.group]
	c.mu.Unlock()
	if known == nil || time.Since(known.at) > groupAge {
		var err error
		known, err = c.discover(ctx, k)
		c.link.told(ctx, k.group, err)
		if err != nil {
			return "", err
		}
		c.mu.Lock()
		c.served[k.group] = known
		c.mu.Unlock()
	}
	return known.resources[k.resource], nil
}

// discover asks for the group of a kind.
func (c *clients) discover(ctx context.Context, k kind) (*group, error) {
	client, err := c.client(k.at(k.versions[0]), true)
	if err != nil {
		return nil, err
	}
	out := &group{at: time.Now(), resources: map[string]string{}}
	var versions metav1.APIGroup
	if err := get(ctx, client, &versions, "/apis", k.group); err != nil {
		return out, err
	}
	for _, version := range k.versions {
		for _, served := range versions.Versions {
			if served.Version != version {
				continue
			}
			var list metav1.APIResourceList
			if err := get(ctx, client, &list, "/apis", k.group, version); err != nil {
				return out, err
			}
			for i := range list.APIResources {
				if name := list.APIResources[i].Name; out.resources[name] == "" {
					out.resources[name] = version
				}
			}
		}
	}
	return out, nil
}

// get reads a discovery document; one that is not there leaves into empty.
func get(ctx context.Context, client *rest.RESTClient, into any, path ...string) error {
	raw, err := client.Get().AbsPath(path...).Do(ctx).Raw()
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}
