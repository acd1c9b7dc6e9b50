package compile

import (
	"fmt"
	"testing"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/config"
)

func outsideHost(n int) *config.Object {
	return &config.Object{
		Kind: config.ServiceEntry, Namespace: "default", Name: fmt.Sprintf("e%d", n), Created: time.Unix(int64(n), 0),
		Spec: &networking.ServiceEntry{
			Hosts: []string{fmt.Sprintf("h%d.example.com", n)}, Resolution: networking.ServiceEntry_DNS,
			Ports: []*networking.ServicePort{{Number: 443, Name: "tls", Protocol: "TLS"}},
		},
	}
}

// Each host has addresses of its own, the same from every pilot, and those of
// older hosts stay when more come. Source: Istio, address auto allocation.
func TestAllocatedAddresses(t *testing.T) {
	const many = 3000 // some 70 of them fall on a place that another has
	c, set := New(), config.Set{}
	for n := range many {
		set = set.With(outsideHost(n))
	}
	before := c.Mesh(set).Mesh
	owners := map[string]string{}
	for host, s := range before.Services.All() {
		if len(s.Addresses) != 2 {
			t.Fatalf("%s has %v", host, s.Addresses)
		}
		for _, a := range s.Addresses {
			if owners[a] != "" {
				t.Errorf("%s is that of %s and of %s", a, owners[a], host)
			}
			owners[a] = host
		}
	}
	for n := many; n < many+20; n++ {
		set = set.With(outsideHost(n))
	}
	moved := 0
	for host, s := range c.Mesh(set).Mesh.Services.All() {
		if was, ok := before.Services.Get(host); ok && was != s {
			moved++
		}
	}
	again, _ := Mesh(set).Mesh.Services.Get("h7.example.com")
	if was, _ := before.Services.Get("h7.example.com"); was.Addresses[0] != again.Addresses[0] {
		t.Errorf("another pilot gives %v, not %v", again.Addresses, was.Addresses)
	}
	if moved > 1 {
		t.Errorf("20 new hosts moved %d older ones", moved)
	}
}

// A label turns it off, and entries with addresses or without a resolution
// need none. Source: networking.istio.io/enable-autoallocate-ip.
func TestNothingAllocated(t *testing.T) {
	off, none, own := outsideHost(1), outsideHost(2), outsideHost(3)
	off.Labels = map[string]string{autoAllocate: "false"}
	none.Spec.(*networking.ServiceEntry).Resolution = networking.ServiceEntry_NONE
	own.Spec.(*networking.ServiceEntry).Addresses = []string{"10.0.0.1"}
	for host, s := range Mesh(config.Set{}.With(off).With(none).With(own)).Mesh.Services.All() {
		if len(s.Addresses) > 0 && s.Addresses[0] != "10.0.0.1" {
			t.Errorf("%s has %v", host, s.Addresses)
		}
	}
}
