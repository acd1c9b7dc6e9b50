package kube_test

import (
	"context"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/weftmesh/weft/apis"
	"github.com/weftmesh/weft/internal/source/kube"
	"github.com/weftmesh/weft/internal/source/sourcetest"
)

func TestContract(t *testing.T) {
	s := newServer(t)
	s.keepUnknownFields()
	sourcetest.Run(t, func(t *testing.T) sourcetest.Harness {
		src, err := kube.New(s.options())
		if err != nil {
			t.Fatal(err)
		}
		places := map[string]string{}
		s := server{s.API, t}
		t.Cleanup(func() {
			for _, text := range places {
				s.remove(text)
			}
		})
		return sourcetest.Harness{
			Source: src, OnlyObjects: true,
			Put:    func(place, yaml string) { places[place] = yaml; s.apply(yaml) },
			Remove: func(place string) { s.remove(places[place]) },
		}
	})
}

const routeCRD = "networking.istio.io_virtualservices.yaml"

// keepUnknownFields makes the API server store VirtualServices with any field
// until the test's end, as CRDs of another version do.
func (s server) keepUnknownFields() {
	crds, err := apis.CRDs()
	if err != nil {
		s.t.Fatal(err)
	}
	strict := string(crds[routeCRD])
	loose := strings.ReplaceAll(strict, "\n          spec:\n", "\n          spec:\n            x-kubernetes-preserve-unknown-fields: true\n")
	s.apply(loose)
	s.t.Cleanup(func() { s.apply(strict); s.awaitPruning(true) })
	s.awaitPruning(false)
}

// awaitPruning waits until the API server takes unknown fields away, or not.
func (s server) awaitPruning(want bool) {
	probe := strings.Replace(route("other", "probe"), "spec: {", "spec: {unknown: {a: 1}, ", 1)
	client, err := dynamic.NewForConfig(s.RESTConfig())
	if err != nil {
		s.t.Fatal(err)
	}
	routes := client.Resource(schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"}).Namespace("other")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		kept := false
		if err := s.Apply(ctx, probe); err == nil {
			got, err := routes.Get(ctx, "probe", metav1.GetOptions{})
			if err != nil {
				s.t.Fatal(err)
			}
			spec, _ := got.Object["spec"].(map[string]any)
			_, kept = spec["unknown"]
		} else if ctx.Err() != nil {
			s.t.Fatal(err)
		}
		s.remove(probe)
		if kept != want {
			return
		}
	}
}
