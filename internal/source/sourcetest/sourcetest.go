// Package sourcetest is the contract that every source keeps.
//
// In: a Harness that writes objects where the source reads them. It is used by
// tests only.
package sourcetest

import (
	"context"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/source"
)

// Harness is one source under test.
type Harness struct {
	Source source.Source
	// Put writes the YAML of a named place (a file; objects of an API server).
	Put func(place, yaml string)
	// Remove takes what was put there away.
	Remove func(place string)
	// OnlyObjects: what is no object at all cannot be put there.
	OnlyObjects bool
}

const (
	serviceA = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\nspec: {clusterIP: 10.96.0.201, ports: [{port: 80, name: http}]}\n"
	serviceB = "apiVersion: v1\nkind: Service\nmetadata: {name: b, namespace: shop}\nspec: {clusterIP: 10.96.0.202, ports: [{port: 80, name: http}]}\n"
	changedB = "apiVersion: v1\nkind: Service\nmetadata: {name: b, namespace: shop}\nspec: {clusterIP: 10.96.0.202, ports: [{port: 81, name: http}]}\n"
	broken   = "apiVersion: v1\nkind: Service\nmetadata: {name: b\n"
	routeB   = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: b, namespace: shop}\nspec: {hosts: [b], http: [{route: [{destination: {host: b}}]}]}\n"
	misspelt = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: b, namespace: shop}\nspec: {hosts: [b], htpp: [{route: [{destination: {host: b}}]}]}\n"
	timeout  = 10 * time.Second
)

// Run holds a source to the contract. make is called once a case.
func Run(t *testing.T, make func(t *testing.T) Harness) {
	t.Run("the first state is whole", func(t *testing.T) {
		h := make(t)
		h.Put("a", serviceA)
		h.Put("b", serviceB)
		st := <-start(t, h)
		if got := services(st); got != 2 {
			t.Fatalf("first state has %d services", got)
		}
	})
	t.Run("what did not change keeps its pointer", func(t *testing.T) {
		h := make(t)
		h.Put("a", serviceA)
		h.Put("b", serviceB)
		states := start(t, h)
		first := <-states
		h.Put("b", changedB)
		second := await(t, states, func(st source.State) bool { return differs(first, st, "shop/b") })
		if differs(first, second, "shop/a") {
			t.Fatal("an unrelated object was made anew")
		}
	})
	t.Run("an object that goes is gone", func(t *testing.T) {
		h := make(t)
		h.Put("a", serviceA)
		h.Put("b", serviceB)
		states := start(t, h)
		h.Remove("a")
		await(t, states, func(st source.State) bool { return services(st) == 1 })
	})
	t.Run("an object with an unknown field is reported, the last good one stays", func(t *testing.T) {
		h := make(t)
		h.Put("a", serviceA)
		h.Put("b", routeB)
		states := start(t, h)
		first := <-states
		route, ok := first.Set.Of(config.VirtualService).Get("shop/b")
		if !ok {
			t.Fatalf("the first state has no route; findings %v", first.Findings)
		}
		h.Put("b", misspelt)
		st := await(t, states, func(st source.State) bool { return hasError(st.Findings) })
		if got, _ := st.Set.Of(config.VirtualService).Get("shop/b"); got != route {
			t.Fatal("the last good object did not stay")
		}
		h.Remove("b")
		await(t, states, func(st source.State) bool {
			return !hasError(st.Findings) && st.Set.Of(config.VirtualService).Len() == 0
		})
	})
	t.Run("what is no object is reported, the last good one stays", func(t *testing.T) {
		h := make(t)
		if h.OnlyObjects {
			return
		}
		h.Put("a", serviceA)
		h.Put("b", serviceB)
		states := start(t, h)
		<-states
		h.Put("b", broken)
		st := await(t, states, func(st source.State) bool { return hasError(st.Findings) })
		if services(st) != 2 {
			t.Fatal("the last good state did not stay")
		}
		h.Put("b", changedB)
		await(t, states, func(st source.State) bool { return !hasError(st.Findings) && services(st) == 2 })
	})
}

// services counts those of the contract: a cluster has others.
func services(st source.State) (n int) {
	for range st.Set.Of(config.Service).Prefix("shop/") {
		n++
	}
	return n
}

func hasError(found []diag.Diagnostic) bool {
	for _, d := range found {
		if d.Severity == diag.Error {
			return true
		}
	}
	return false
}

func differs(a, b source.State, key string) bool {
	x, _ := a.Set.Of(config.Service).Get(key)
	y, _ := b.Set.Of(config.Service).Get(key)
	return x != y
}

func start(t *testing.T, h Harness) <-chan source.State {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	states := make(chan source.State, 1000)
	done := make(chan error, 1)
	go func() { done <- h.Source.Run(ctx, func(st source.State) { states <- st }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("source ended with %v", err)
		}
	})
	return states
}

// await returns the first state that is as wanted.
func await(t *testing.T, states <-chan source.State, want func(source.State) bool) source.State {
	t.Helper()
	deadline := time.After(timeout)
	for {
		select {
		case st := <-states:
			if want(st) {
				return st
			}
		case <-deadline:
			t.Fatal("the state that was waited for did not come")
		}
	}
}
