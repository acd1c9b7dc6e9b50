package kube_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/weftmesh/weft/apis"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/source"
	"github.com/weftmesh/weft/internal/source/kube"
	"github.com/weftmesh/weft/test/cluster"
)

// patience bounds every wait of these tests.
const patience = 60 * time.Second

// server is a real API server with Istio's CRDs and the namespaces that the
// tests use.
type server struct {
	*cluster.API
	t testing.TB
}

func newServer(t testing.TB) server {
	t.Helper()
	s := server{cluster.APIServer(t), t}
	crds, err := apis.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range crds {
		s.apply(string(text))
	}
	for _, ns := range []string{"shop", "other", "weft-system", "mesh"} {
		s.apply(fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", ns))
	}
	return s
}

func (s server) apply(text string) {
	s.t.Helper()
	if err := s.Apply(context.Background(), text); err != nil {
		s.t.Fatal(err)
	}
}

// add applies objects until the test's end.
func (s server) add(text string) {
	s.t.Helper()
	s.apply(text)
	s.t.Cleanup(func() { s.remove(text) })
}

// eventually applies what the API server may not be ready for yet.
func (s server) eventually(text string) {
	s.t.Helper()
	deadline := time.After(patience)
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		err := s.Apply(context.Background(), text)
		if err == nil {
			return
		}
		select {
		case <-deadline:
			s.t.Fatal(err)
		default:
		}
	}
}

func (s server) remove(text string) {
	s.t.Helper()
	if err := s.Delete(context.Background(), text); err != nil {
		s.t.Error(err)
	}
}

// run adds a Pod. No kubelet ends it, so it is taken away at once.
func (s server) run(text, ns, name string) {
	s.t.Helper()
	s.apply(text)
	s.t.Cleanup(func() { s.bury(ns, name) })
}

func (s server) bury(ns, name string) {
	s.t.Helper()
	client, err := s.Clientset()
	if err != nil {
		s.t.Fatal(err)
	}
	err = client.CoreV1().Pods(ns).Delete(context.Background(), name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
	if err != nil && !apierrors.IsNotFound(err) {
		s.t.Error(err)
	}
}

// watcher is a running source; states come in their order.
type watcher struct {
	*kube.Source
	t      testing.TB
	states chan source.State
	last   source.State
}

// watch runs a source until the test's end.
func watch(t testing.TB, o kube.Options) *watcher {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	src, err := kube.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{Source: src, t: t, states: make(chan source.State, 10_000)}
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx, func(st source.State) { w.states <- st }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the source ended with %v", err)
		}
	})
	return w
}

// await returns the first state that is as wanted.
func (w *watcher) await(what string, want func(source.State) bool) source.State {
	w.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case w.last = <-w.states:
			if want(w.last) {
				return w.last
			}
		case <-deadline:
			w.t.Fatalf("%s: it did not come in %v; still waiting for %q, findings %v", what, patience, w.Waiting(), w.last.Findings)
		}
	}
}

func (w *watcher) first() source.State {
	w.t.Helper()
	return w.await("the first state", func(source.State) bool { return true })
}

func has(k config.Kind, key string) func(source.State) bool {
	return func(st source.State) bool { return get(st, k, key) != nil }
}

func lacks(k config.Kind, key string) func(source.State) bool {
	return func(st source.State) bool { return get(st, k, key) == nil }
}

func get(st source.State, k config.Kind, key string) *config.Object {
	o, _ := st.Set.Of(k).Get(key)
	return o
}

// said reports whether a finding is about an object.
func said(st source.State, code, object string) bool {
	for _, d := range st.Findings {
		if d.Code == code && d.Object.String() == object {
			return true
		}
	}
	return false
}

func (s server) options() kube.Options { return kube.Options{Config: s.RESTConfig()} }

// through reaches the API server by another address.
func through(config *rest.Config, address string) *rest.Config {
	config.Host = "https://" + address
	return config
}

// testWriter sends log lines to the test.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func service(name string, port int) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop}\nspec: {ports: [{port: %d, name: http}]}\n---\n", name, port)
}

func route(ns, name string) string {
	return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: %s, namespace: %s}\nspec: {hosts: [%s], http: [{route: [{destination: {host: %s}}]}]}\n---\n", name, ns, name, name)
}
