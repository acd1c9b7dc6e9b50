package ingress

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
)

// The ports that an ingress controller serves.
const (
	httpPort  = 80
	httpsPort = 443
)

// gateways makes a Gateway for the sites of a namespace that have exact hosts,
// and one for each other site: a VirtualService also takes those hosts of its
// Gateway that its wildcard covers, and an Ingress's wildcard never takes what an
// exact host has.
func gateways(sites []*site, pods string) (out []Object) {
	by := map[Metadata][]*site{}
	for _, s := range sites {
		at := Metadata{s.gateway(), s.first.Namespace}
		by[at] = append(by[at], s)
	}
	order := func(a, b Metadata) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	}
	for _, at := range slices.SortedFunc(maps.Keys(by), order) {
		spec := &networking.Gateway{
			Selector: map[string]string{"istio": "ingressgateway"},
			Servers:  append([]*networking.Server{plain(at.Namespace, by[at])}, secured(at.Namespace, by[at], pods)...),
		}
		out = append(out, Object{"networking.istio.io/v1", "Gateway", at, spec})
	}
	return out
}

// gateway is the name of a site's Gateway.
func (s *site) gateway() string {
	if slices.ContainsFunc(append([]string{s.host}, s.aliases...), func(h string) bool { return h[0] == '*' }) {
		return nameOf(s.host)
	}
	return gatewayName
}

func (s *site) hosts(namespace string) (out []string) {
	for _, h := range append([]string{s.host}, s.aliases...) {
		out = append(out, namespace+"/"+h)
	}
	return out
}

func plain(namespace string, sites []*site) *networking.Server {
	out := &networking.Server{Port: &networking.Port{Number: httpPort, Name: "http", Protocol: "HTTP"}}
	for _, s := range sites {
		out.Hosts = append(out.Hosts, s.hosts(namespace)...)
	}
	return out
}

// secured makes one server for each Secret.
func secured(namespace string, sites []*site, pods string) (out []*networking.Server) {
	by := map[string]*networking.Server{}
	for _, s := range sites {
		if s.secret == "" {
			continue
		}
		server := by[s.secret]
		if server == nil {
			server = &networking.Server{
				Port: &networking.Port{Number: httpsPort, Name: "https-" + s.secret, Protocol: "HTTPS"},
				Tls:  &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_SIMPLE, CredentialName: s.secret},
			}
			by[s.secret] = server
			out = append(out, server)
			s.first.d.Add(diag.NotAsBefore, "spec.tls", "Secret %q is looked for in the namespace of the gateway's pods: %s", s.secret, copySecret(namespace, s.secret, pods))
		}
		server.Hosts = append(server.Hosts, s.hosts(namespace)...)
	}
	return out
}

func copySecret(namespace, name, pods string) string {
	if pods == "" {
		pods = "theirs"
	}
	return fmt.Sprintf("copy it from %s to %s", namespace+"/"+name, pods)
}
