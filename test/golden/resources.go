package golden

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	dns "github.com/envoyproxy/go-control-plane/envoy/data/dns/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"
)

// kinds are short names of resource types, as want/ and want-delta.txt use
// them.
var kinds = map[string]string{
	"type.googleapis.com/envoy.config.cluster.v3.Cluster":                  "cluster",
	"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment":   "endpoint",
	"type.googleapis.com/envoy.config.listener.v3.Listener":                "listener",
	"type.googleapis.com/envoy.config.route.v3.RouteConfiguration":         "route",
	"type.googleapis.com/envoy.config.route.v3.VirtualHost":                "vhost",
	"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret": "secret",
	"type.googleapis.com/envoy.data.dns.v3.DnsTable.DnsVirtualDomain":      "name",
}

// Select renders the resources that a want/ part is about. Its first lines,
// "# KIND GLOB [FIELD...]", say which: kinds are listener, route, vhost,
// cluster, endpoint and name, and "*" in a glob stands for any text; with
// fields, only those are written. The lines are kept at the top of what is
// returned, so that an update keeps them.
func Select(part string, resources []*discovery.Resource) (string, error) {
	var out bytes.Buffer
	var chosen []*discovery.Resource
	fields := map[*discovery.Resource][]string{}
	for line := range strings.SplitSeq(part, "\n") {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "#" {
			break
		}
		fmt.Fprintln(&out, line)
		for _, r := range resources {
			if kinds[r.GetResource().GetTypeUrl()] == words[1] && glob(words[2], r.GetName()) && !slices.Contains(chosen, r) {
				chosen = append(chosen, r)
				fields[r] = words[3:]
			}
		}
	}
	if out.Len() == 0 {
		return "", fmt.Errorf(`it must begin with lines "# KIND GLOB" that say which resources it is about`)
	}
	for _, r := range chosen {
		if kinds[r.GetResource().GetTypeUrl()] == "secret" {
			return "", fmt.Errorf("secrets are not written into files")
		}
		text, err := render(r, fields[r])
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "---\n%s", text)
	}
	return out.String(), nil
}

func glob(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(`\A` + strings.Join(parts, ".*") + `\z`).MatchString(name)
}

// render is a resource as YAML with sorted keys, without the parts that are
// the same everywhere (access logs); of fields only, if any are named.
func render(r *discovery.Resource, fields []string) (string, error) {
	m, err := r.GetResource().UnmarshalNew()
	if err != nil {
		return "", err
	}
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return "", err
	}
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return "", err
	}
	drop(tree, "access_log")
	for name := range tree {
		if len(fields) > 0 && name != "name" && !slices.Contains(fields, name) {
			delete(tree, name)
		}
	}
	out, err := yaml.Marshal(tree)
	return string(out), err
}

func drop(tree any, key string) {
	switch t := tree.(type) {
	case map[string]any:
		delete(t, key)
		for _, v := range t {
			drop(v, key)
		}
	case []any:
		for _, v := range t {
			drop(v, key)
		}
	}
}

// Delta is what a change sends, one line a resource: "+cluster a" for a new
// one, "~vhost b" for a changed one, "-endpoint c" for a removed one.
func Delta(before, after []*discovery.Resource) string {
	key := func(r *discovery.Resource) string { return kinds[r.GetResource().GetTypeUrl()] + " " + r.GetName() }
	old, lines := map[string]*discovery.Resource{}, map[string]string{}
	for _, r := range before {
		old[key(r)] = r
		lines[key(r)] = "-"
	}
	for _, r := range after {
		switch was := old[key(r)]; {
		case was == nil:
			lines[key(r)] = "+"
		case bytes.Equal(was.GetResource().GetValue(), r.GetResource().GetValue()):
			delete(lines, key(r))
		default:
			lines[key(r)] = "~"
		}
	}
	var out strings.Builder
	for _, k := range slices.Sorted(maps.Keys(lines)) {
		fmt.Fprintf(&out, "%s%s\n", lines[k], k)
	}
	return out.String()
}

// Lookup resolves names as the agent's DNS does: by the DNS resources that the
// pilot serves, with the search list of a pod in namespace.
func Lookup(resources []*discovery.Resource, namespace string) (func(host string) (netip.Addr, error), error) {
	table := map[string]*dns.DnsTable_DnsVirtualDomain{}
	for _, r := range resources {
		if kinds[r.GetResource().GetTypeUrl()] != "name" {
			continue
		}
		domain := &dns.DnsTable_DnsVirtualDomain{}
		if err := r.GetResource().UnmarshalTo(domain); err != nil {
			return nil, err
		}
		table[strings.TrimSuffix(r.GetName(), ".")] = domain
	}
	return func(host string) (netip.Addr, error) {
		host = strings.ToLower(strings.TrimSuffix(host, "."))
		for _, suffix := range []string{"", "." + namespace + ".svc.cluster.local", ".svc.cluster.local", ".cluster.local"} {
			if domain := table[host+suffix]; domain != nil {
				for _, a := range domain.GetEndpoint().GetAddressList().GetAddress() {
					return netip.ParseAddr(a)
				}
			}
		}
		return netip.Addr{}, nil
	}, nil
}
