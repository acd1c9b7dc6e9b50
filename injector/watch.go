package injector

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/cache"

	"github.com/weftmesh/weft/internal/admission"
	weftconfig "github.com/weftmesh/weft/internal/config"
)

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
	core := in.client.CoreV1().RESTClient()
	s := stores{
		config: admission.Follow(ctx, core, admission.ConfigMap(in.Namespace, "istio-sidecar-injector"+suffix(in.Revision)), poke),
		mesh:   admission.Follow(ctx, core, admission.ConfigMap(in.Namespace, "istio"+suffix(in.Revision)), poke),
	}
	if in.objects != nil {
		s.proxies = followProxyConfigs(ctx, in.objects, poke)
	}
	bundle := &admission.Bundle{
		Client: in.client.AdmissionregistrationV1().RESTClient(), Manager: "weft-injector",
		Hooks: admission.Kept{Resource: "mutatingwebhookconfigurations", Name: in.WebhookConfig, Object: &admissionregistrationv1.MutatingWebhookConfiguration{}},
	}
	bundle.Follow(ctx, core, in.Namespace, poke)
	in.Identity.KnownTo(bundle.Trusted)
	var seen seen
	for {
		again := (<-chan time.Time)(nil)
		if err := errors.Join(in.readValues(s, &seen), in.keepBundle(ctx, bundle)); err != nil {
			in.Log.Warn("the API server does not answer as it should; will try again", "error", err)
			again = time.After(admission.RetryAfter)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poked:
		case <-again:
		}
	}
}

// stores hold one object each, or none; proxies all ProxyConfigs. A nil store
// is not followed.
type stores struct{ config, mesh, proxies cache.Store }

// seen is what readValues has looked at already.
type seen struct {
	versionKnown, nativeSidecars bool
	texts                        string
}

// readValues takes new values when the ConfigMaps have changed. What cannot be
// used is told once, and the last good ones stay in force. An error is the API
// server's.
func (in *injector) readValues(s stores, last *seen) (err error) {
	values, there := admission.Data(s.config, "values")
	if !there {
		return nil
	}
	if !last.versionKnown {
		if last.nativeSidecars, err = HasNativeSidecars(in.client.Discovery()); err != nil {
			return err
		}
		last.versionKnown = true
	}
	config, _ := admission.Data(s.config, "config")
	mesh, _ := admission.Data(s.mesh, "mesh")
	proxies, versions := s.proxyConfigs()
	if now := strings.Join([]string{config, values, mesh, versions}, "\x00"); now != last.texts {
		last.texts = now
		in.take(config, values, mesh, last.nativeSidecars, proxies)
	}
	return nil
}

// take puts new values in force, if they can be used.
func (in *injector) take(config, values, mesh string, native bool, proxies []*weftconfig.Object) {
	v, err := ParseConfig(config, values, mesh)
	if err != nil {
		in.Log.Error("the configuration cannot be used; the last good one stays in force", "error", err)
		return
	}
	v.NativeSidecars, v.ProxyConfigs = native, proxies
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
func (in *injector) keepBundle(ctx context.Context, bundle *admission.Bundle) error {
	wrote, err := bundle.Keep(ctx)
	if wrote {
		in.Log.Info("the webhook's caBundle is written", "configuration", in.WebhookConfig)
	}
	return err
}
