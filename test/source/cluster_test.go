package source

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	"github.com/weftmesh/weft/apis"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/source"
	"github.com/weftmesh/weft/internal/source/kube"
	testcluster "github.com/weftmesh/weft/test/cluster"
)

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// resources are those that are applied and exported.
var resources = map[config.Kind]schema.GroupVersionResource{
	config.Service: {Version: "v1", Resource: "services"}, config.Pod: {Version: "v1", Resource: "pods"},
	config.Namespace: {Version: "v1", Resource: "namespaces"}, config.Node: {Version: "v1", Resource: "nodes"},
	config.Secret: {Version: "v1", Resource: "secrets"}, config.ConfigMap: {Version: "v1", Resource: "configmaps"},
	config.EndpointSlice:         {Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"},
	config.VirtualService:        networking("virtualservices"),
	config.DestinationRule:       networking("destinationrules"),
	config.Gateway:               networking("gateways"),
	config.ServiceEntry:          networking("serviceentries"),
	config.Sidecar:               networking("sidecars"),
	config.WorkloadEntry:         networking("workloadentries"),
	config.WorkloadGroup:         networking("workloadgroups"),
	config.EnvoyFilter:           {Group: "networking.istio.io", Version: "v1alpha3", Resource: "envoyfilters"},
	config.ProxyConfig:           {Group: "networking.istio.io", Version: "v1beta1", Resource: "proxyconfigs"},
	config.PeerAuthentication:    {Group: "security.istio.io", Version: "v1", Resource: "peerauthentications"},
	config.RequestAuthentication: {Group: "security.istio.io", Version: "v1", Resource: "requestauthentications"},
	config.AuthorizationPolicy:   {Group: "security.istio.io", Version: "v1", Resource: "authorizationpolicies"},
	config.Telemetry:             {Group: "telemetry.istio.io", Version: "v1", Resource: "telemetries"},
}

// followed are the kinds that both states must have alike.
var followed = []config.Kind{
	config.Service, config.Pod, config.Namespace, config.Node, config.Secret, config.EndpointSlice, config.MeshConfig,
	config.VirtualService, config.DestinationRule, config.Gateway, config.ServiceEntry, config.Sidecar, config.WorkloadEntry, config.WorkloadGroup,
	config.EnvoyFilter, config.ProxyConfig, config.PeerAuthentication, config.RequestAuthentication, config.AuthorizationPolicy, config.Telemetry,
}

func networking(plural string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: plural}
}

// cluster is an API server, and the source that follows it.
type cluster struct {
	client         *dynamic.DynamicClient
	states         chan source.State
	last           source.State
	namespaces     map[string]bool                       // that are there
	standing       map[string]*unstructured.Unstructured // by resource, namespace and name
	taken, refused int
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	api := testcluster.APIServer(t)
	crds, err := apis.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range crds {
		if err := api.Apply(t.Context(), string(text)); err != nil {
			t.Fatal(err)
		}
	}
	client, err := dynamic.NewForConfig(api.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	src, err := kube.New(kube.Options{Config: api.RESTConfig(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{client: client, states: make(chan source.State, 10_000), namespaces: map[string]bool{}, standing: map[string]*unstructured.Unstructured{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx, func(st source.State) { c.states <- st }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the source ended with %v", err)
		}
	})
	return c
}

// state is the newest one; more is false once none came for patience.
func (c *cluster) state(t *testing.T) (set config.Set, more bool) {
	t.Helper()
	select {
	case c.last = <-c.states:
		for len(c.states) > 0 {
			c.last = <-c.states
		}
		return c.last.Set, true
	case <-time.After(patience):
		return c.last.Set, false
	}
}

// apply puts objects on the API server until the test's end; what stood there
// before stands again then. Those that it refuses are counted: some cases are
// about just those.
func (c *cluster) apply(t *testing.T, text string) {
	t.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Logf("what follows cannot be applied: %v", err)
			return
		}
		resource, ok := resources[config.Kind(object.GetKind())]
		if !ok || len(object.Object) == 0 {
			continue
		}
		if err := c.applyOne(t, resource, object); err != nil {
			c.refused++
			t.Logf("refused: %v", err)
		} else {
			c.taken++
		}
	}
}

func (c *cluster) applyOne(t *testing.T, resource schema.GroupVersionResource, object *unstructured.Unstructured) error {
	complete(resource, object)
	in := dynamic.ResourceInterface(c.client.Resource(resource))
	if ns := object.GetNamespace(); ns != "" {
		in = c.client.Resource(resource).Namespace(ns)
		if !c.namespaces[ns] {
			c.namespace(t, ns)
			c.namespaces[ns] = true
		}
	}
	options := metav1.ApplyOptions{FieldManager: "weft-test", Force: true}
	if _, err := in.Apply(t.Context(), object.GetName(), object, options); err != nil {
		return err
	}
	id := resource.Resource + " " + object.GetNamespace() + "/" + object.GetName()
	before := c.standing[id]
	c.standing[id] = object
	t.Cleanup(func() {
		if c.standing[id] = before; resource.Resource == "namespaces" {
			return // nothing would ever empty it
		}
		_ = in.Delete(context.Background(), object.GetName(), metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		if before != nil {
			if _, err := in.Apply(context.Background(), object.GetName(), before, options); err != nil {
				t.Error(err)
			}
		}
	})
	if object.Object["status"] == nil || resource.Resource != "pods" {
		return nil
	}
	_, err := in.ApplyStatus(t.Context(), object.GetName(), object, options)
	return err
}

// complete adds what an API server demands and the mesh does not read.
func complete(resource schema.GroupVersionResource, object *unstructured.Unstructured) {
	object.SetAPIVersion(resource.GroupVersion().String())
	if object.GetNamespace() == "" && resource.Resource != "namespaces" && resource.Resource != "nodes" {
		object.SetNamespace("default")
	}
	if resource.Resource != "pods" {
		return
	}
	for _, field := range []string{"containers", "initContainers"} {
		list, ok, _ := unstructured.NestedSlice(object.Object, "spec", field)
		if field == "containers" && len(list) == 0 {
			list, ok = []any{map[string]any{"name": "app"}}, true
		}
		for i := range list {
			if container, is := list[i].(map[string]any); is && container["image"] == nil {
				container["image"] = "none"
			}
		}
		if ok {
			_ = unstructured.SetNestedSlice(object.Object, list, "spec", field)
		}
	}
}

func (c *cluster) namespace(t *testing.T, name string) {
	t.Helper()
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}}
	if _, err := c.client.Resource(resources[config.Namespace]).Apply(t.Context(), name, ns, metav1.ApplyOptions{FieldManager: "weft-test", Force: true}); err != nil {
		t.Fatal(err)
	}
}

// exported is a folder with all that the API server holds, read as a file.
func (c *cluster) exported(t *testing.T) config.Set {
	t.Helper()
	var set config.Set
	for _, resource := range resources {
		list, err := c.client.Resource(resource).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			text, err := json.Marshal(list.Items[i].Object)
			if err != nil {
				t.Fatal(err)
			}
			objects, found := config.Decode("exported.yaml", text)
			if len(found) > 0 {
				t.Logf("exported: %v", found)
			}
			for _, o := range objects {
				set = set.With(o)
			}
		}
	}
	return set
}
