// Package ingress turns Ingress objects into Gateways, VirtualServices and
// DestinationRules that do the same.
//
// In: YAML or JSON documents (Ingresses, and the Services that name their ports;
// other kinds are passed over). Out: objects to print, and findings: nothing of
// an Ingress is left out without one. It is pure. Imports: istio.io/api,
// Kubernetes types, config, diag and hostname.
//
// Sources: Kubernetes, networking.k8s.io/v1 Ingress ("Path types", "Hostname
// wildcards"); ingress-nginx, user guide, "Annotations".
package ingress

import (
	"slices"

	"github.com/weftmesh/weft/internal/diag"
)

// Options of a conversion. The zero value converts every Ingress.
type Options struct {
	// Class is the one ingress class to convert, with the Ingresses that name
	// none; "" is all.
	Class string
	// GatewayNamespace is where the gateway's pods run: credentials must be there.
	GatewayNamespace string
}

// Object is one object of the output. Its JSON is what an API server takes.
type Object struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Metadata `json:"metadata"`
	Spec       any      `json:"spec"` // a message of istio.io/api
}

// Metadata names an Object.
type Metadata struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// Result is what became of a conversion: objects in the order in which to apply
// them. A finding of severity Error means that requests would be treated
// otherwise than by the Ingress.
type Result struct {
	Objects  []Object
	Findings []diag.Diagnostic
}

// File is a text and the name that findings give it.
type File struct {
	Name string
	Text []byte
}

// Convert reads the documents of all files and converts their Ingresses. The
// older of two that claim the same wins, as in ingress-nginx.
func Convert(files []File, o Options) Result {
	in := read(files, o.Class)
	sites := sitesOf(in)
	rules := newRules(in)
	result := Result{Findings: in.found}
	var routes []Object
	for _, s := range sites {
		routes = append(routes, virtualService(s, rules))
	}
	result.Objects = slices.Concat(gateways(sites, o.GatewayNamespace), rules.objects(), routes)
	for _, i := range in.ingresses {
		result.Findings = append(result.Findings, i.d.All()...)
	}
	diag.Sort(result.Findings)
	result.Findings = slices.Compact(result.Findings)
	return result
}
