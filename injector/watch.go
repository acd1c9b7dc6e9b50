package injector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// follow keeps one object, so that rights can be limited to its name, and calls
// poke after each change. The store is empty while there is no such object.
func follow(ctx context.Context, from rest.Interface, k kept, poke func()) cache.Store {
	call := func(any) { poke() }
	store, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(from, k.resource, k.namespace, fields.OneTermEqualSelector("metadata.name", k.name)),
		ObjectType:    k.object,
		Handler:       cache.ResourceEventHandlerFuncs{AddFunc: call, UpdateFunc: func(_, now any) { poke() }, DeleteFunc: call},
	})
	go controller.RunWithContext(ctx)
	return store
}

// kept names an object to follow.
type kept struct {
	resource, namespace, name string
	object                    runtime.Object
}

func configMap(namespace, name string) kept {
	return kept{"configmaps", namespace, name, &corev1.ConfigMap{}}
}

// retryAfter is when a failed write is tried again.
const retryAfter = 5 * time.Second

// watch keeps values and the webhook's caBundle as the cluster's objects say,
// until ctx ends.
func (in *injector) watch(ctx context.Context) error {
	poked := make(chan struct{}, 1)
	poke := func() {
		select {
		case poked <- struct{}{}:
		default: // a look is due already
		}
	}
	core, admission := in.Client.CoreV1().RESTClient(), in.Client.AdmissionregistrationV1().RESTClient()
	s := stores{
		config: follow(ctx, core, configMap(in.Namespace, "istio-sidecar-injector"+suffix(in.Revision)), poke),
		mesh:   follow(ctx, core, configMap(in.Namespace, "istio"+suffix(in.Revision)), poke),
		roots:  follow(ctx, core, configMap(in.Namespace, rootsConfigMap), poke),
		webhooks: follow(ctx, admission, kept{"mutatingwebhookconfigurations", "", in.WebhookConfig,
			&admissionregistrationv1.MutatingWebhookConfiguration{}}, poke),
	}
	var seen seen
	for {
		again := (<-chan time.Time)(nil)
		if err := errors.Join(in.readValues(s, &seen), in.keepBundle(ctx, s)); err != nil {
			in.Log.Warn("the API server does not answer as it should; will try again", "error", err)
			again = time.After(retryAfter)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poked:
		case <-again:
		}
	}
}

// stores hold one object each, or none.
type stores struct{ config, mesh, roots, webhooks cache.Store }

func data(s cache.Store, key string) (string, bool) {
	for _, o := range s.List() {
		if m, ok := o.(*corev1.ConfigMap); ok {
			text, there := m.Data[key]
			return text, there
		}
	}
	return "", false
}

// seen is what readValues has looked at already.
type seen struct {
	versionKnown, nativeSidecars bool
	texts                        string
}

// readValues takes new values when the ConfigMaps have changed. What cannot be
// used is told once, and the last good ones stay in force. An error is the API
// server's.
func (in *injector) readValues(s stores, last *seen) (err error) {
	values, there := data(s.config, "values")
	if !there {
		return nil
	}
	if !last.versionKnown {
		if last.nativeSidecars, err = HasNativeSidecars(in.Client.Discovery()); err != nil {
			return err
		}
		last.versionKnown = true
	}
	config, _ := data(s.config, "config")
	mesh, _ := data(s.mesh, "mesh")
	if now := strings.Join([]string{config, values, mesh}, "\x00"); now != last.texts {
		last.texts = now
		in.take(config, values, mesh, last.nativeSidecars)
	}
	return nil
}

// take puts new values in force, if they can be used.
func (in *injector) take(config, values, mesh string, native bool) {
	v, err := ParseConfig(config, values, mesh)
	if err != nil {
		in.Log.Error("the configuration cannot be used; the last good one stays in force", "error", err)
		return
	}
	v.NativeSidecars = native
	in.values.Store(&v)
	in.Log.Info("configuration read", "revision", v.Revision, "image", v.WithDefaults().image("proxy"), "nativeSidecars", native)
}

// HasNativeSidecars asks the API server for its version; native sidecars are
// there by default since Kubernetes 1.29.
func HasNativeSidecars(api discovery.ServerVersionInterface) (bool, error) {
	version, err := api.ServerVersion()
	if err != nil {
		return false, fmt.Errorf("version of the API server: %w", err)
	}
	major, err1 := strconv.Atoi(version.Major)
	minor, err2 := strconv.Atoi(strings.TrimRight(version.Minor, "+"))
	if err1 != nil || err2 != nil {
		return false, fmt.Errorf("version of the API server: %s.%s is no number", version.Major, version.Minor)
	}
	return major > 1 || major == 1 && minor >= 29, nil
}

// keepBundle puts the mesh's roots into every webhook of our configuration.
// Each replica does so: they read the same roots, and write only what differs.
func (in *injector) keepBundle(ctx context.Context, s stores) error {
	roots, there := data(s.roots, "root-cert.pem")
	if !there || roots == "" {
		return nil // the CA has not written them yet
	}
	for _, o := range s.webhooks.List() {
		c, ok := o.(*admissionregistrationv1.MutatingWebhookConfiguration)
		if !ok {
			continue
		}
		patch, err := bundlePatch(c, []byte(roots))
		if err != nil || patch == nil {
			return err
		}
		_, err = in.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().
			Patch(ctx, c.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: "weft-injector"})
		if err != nil {
			return err
		}
		in.Log.Info("the webhook's caBundle is written", "configuration", c.Name)
	}
	return nil
}

// bundlePatch is the JSON patch that makes every caBundle roots; nil if they
// are. It tests that the webhooks are those that were read, for it names them
// by number.
func bundlePatch(c *admissionregistrationv1.MutatingWebhookConfiguration, roots []byte) ([]byte, error) {
	differs := func(w admissionregistrationv1.MutatingWebhook) bool {
		return !bytes.Equal(w.ClientConfig.CABundle, roots)
	}
	if !slices.ContainsFunc(c.Webhooks, differs) {
		return nil, nil
	}
	var ops []operation
	for i, w := range c.Webhooks {
		at := fmt.Sprintf("/webhooks/%d", i)
		ops = append(ops, operation{"test", at + "/name", w.Name}, operation{"add", at + "/clientConfig/caBundle", roots})
	}
	return json.Marshal(ops)
}
