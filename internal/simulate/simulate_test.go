package simulate

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// The comparison with a real Envoy is in test/golden and pilot; the tests here
// are of what a comparison does not reach: errors, and laws over any input.

const (
	api     = `"@type": "type.googleapis.com/envoy.`
	gateway = `{` + api + `config.listener.v3.Listener", "name": "gw", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
		"filter_chains": [{"filters": [{"name": "h", "typed_config": {` + api + `extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix": "x", "normalize_path": true, "merge_slashes": true, "strip_matching_host_port": true,
		"rds": {"route_config_name": "t"}, "http_filters": [%s{"name": "r", "typed_config": {` + api + `extensions.filters.http.router.v3.Router"}}]}}]}]}`
	table = `{` + api + `config.route.v3.RouteConfiguration", "name": "t", "virtual_hosts": [%s]}`
	eds   = `{` + api + `config.cluster.v3.Cluster", "name": "a", "type": "EDS"%s}`
	hosts = `{` + api + `config.endpoint.v3.ClusterLoadAssignment", "cluster_name": "a", "endpoints": [
		{"lb_endpoints": [{"health_status": "DRAINING", "endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}}}}]},
		{"priority": 1, "lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "10.0.0.2", "port_value": 80}}}}]}]}`
	anyHost = `{"name": "all", "domains": ["*"], "routes": [%s]}`
)

func config(t testing.TB, bodies ...string) *Config {
	t.Helper()
	var all []*discovery.Resource
	for _, body := range bodies {
		r := &discovery.Resource{Name: "t/x", Resource: &anypb.Any{}}
		if err := protojson.Unmarshal([]byte(body), r.Resource); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		all = append(all, r)
	}
	c, err := New(all)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func with(t testing.TB, routes string) *Config {
	t.Helper()
	return config(t, fmt.Sprintf(gateway, ""), fmt.Sprintf(table, fmt.Sprintf(anyHost, routes)), fmt.Sprintf(eds, ""), hosts)
}

var toGateway = netip.MustParseAddrPort("10.9.9.9:80")

func only(t *testing.T, c *Config, call Call) Outcome {
	t.Helper()
	call.Destination = toGateway
	all, err := c.Run(call)
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v; want one outcome", all, err)
	}
	return all[0]
}

func TestUnknownIsAnError(t *testing.T) {
	for name, c := range map[string]func() *Config{
		"HTTP filter": func() *Config {
			return config(t, fmt.Sprintf(gateway, `{"name": "g", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy"}}, `),
				fmt.Sprintf(table, fmt.Sprintf(anyHost, `{"match": {"prefix": "/"}, "direct_response": {"status": 200}}`)))
		},
		"route field": func() *Config {
			return with(t, `{"match": {"prefix": "/"}, "route": {"cluster": "a", "rate_limits": [{}]}}`)
		},
		"match field": func() *Config {
			return with(t, `{"match": {"prefix": "/", "filter_state": [{"key": "a"}]}, "route": {"cluster": "a"}}`)
		},
		"path specifier": func() *Config { return with(t, `{"match": {"connect_matcher": {}}, "route": {"cluster": "a"}}`) },
		"string matcher": func() *Config {
			return with(t, `{"match": {"prefix": "/", "headers": [{"name": ":method", "string_match": {}}]}, "route": {"cluster": "a"}}`)
		},
		"command operator": func() *Config {
			return with(t, `{"match": {"prefix": "/"}, "route": {"cluster": "a"}, "request_headers_to_add": [{"header": {"key": "x", "value": "%START_TIME%"}}]}`)
		},
		"retry_on": func() *Config {
			return with(t, `{"match": {"prefix": "/"}, "route": {"cluster": "a", "retry_policy": {"retry_on": "moon"}}}`)
		},
		"per-filter config": func() *Config {
			return with(t, `{"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [{"name": "a", "weight": 1, "cluster_header": "x"}]}}}`)
		},
		"cluster type": func() *Config {
			return config(t, fmt.Sprintf(gateway, ""), fmt.Sprintf(table, fmt.Sprintf(anyHost, `{"match": {"prefix": "/"}, "route": {"cluster": "a"}}`)), strings.Replace(fmt.Sprintf(eds, ""), `"EDS"`, `9`, 1))
		},
		"cluster's LB field": func() *Config {
			return config(t, fmt.Sprintf(gateway, ""), fmt.Sprintf(table, fmt.Sprintf(anyHost, `{"match": {"prefix": "/"}, "route": {"cluster": "a"}}`)), fmt.Sprintf(eds, `, "lb_subset_config": {"list_as_any": true}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var want *UnknownError
			if all, err := c().Run(Call{Destination: toGateway, Host: "x"}); !errors.As(err, &want) {
				t.Fatalf("got %v, %v; want an UnknownError", all, err)
			}
		})
	}
}

func TestConfigurationsThatEnvoyRefuses(t *testing.T) {
	for name, routes := range map[string]string{
		"domain twice":  `{"match": {"prefix": "/"}, "route": {"cluster": "a"}}]}, {"name": "again", "domains": ["*"], "routes": [`,
		"weights all 0": `{"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [{"name": "a", "weight": 0}]}}}`,
		"regex":         `{"match": {"safe_regex": {"regex": "("}}, "route": {"cluster": "a"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if all, err := with(t, routes).Run(Call{Destination: toGateway, Host: "x"}); err == nil {
				t.Fatalf("got %v; want an error", all)
			}
		})
	}
}

func TestPathIsMended(t *testing.T) {
	c := with(t, `{"match": {"prefix": "/"}, "route": {"cluster": "a"}}`)
	for path, want := range map[string]string{
		"": "/", "/a/../b": "/b", "/a/./b/": "/a/b/", "/a//b": "/a/b", "/a/..": "/", "/a/b/..": "/a/", `/a\b`: "/a/b", "/a?x=//../": "/a?x=//../", "/..": "/",
	} {
		if o := only(t, c, Call{Host: "x:80", Path: path}); o.Request.Path != want || o.Request.Host != "x" {
			t.Errorf("%q: got %q at %q, want %q", path, o.Request.Path, o.Request.Host, want)
		}
	}
}

func TestOnlyServingEndpoints(t *testing.T) {
	o := only(t, with(t, `{"match": {"prefix": "/"}, "route": {"cluster": "a"}}`), Call{Host: "x"})
	if len(o.Upstreams) != 1 || o.Upstreams[0].Address != "10.0.0.2:80" {
		t.Errorf("got %v, want the one of the next priority", o.Upstreams)
	}
}

func TestDomains(t *testing.T) {
	order := []string{"*", "a.*", "a.b.*", "*.c", "*.b.c", "a.b.c"}
	for i := range order[1:] {
		lower, higher := rankDomain(order[i], "a.b.c"), rankDomain(order[i+1], "a.b.c")
		if lower >= higher {
			t.Errorf("%s ranks %d, %s %d", order[i], lower, order[i+1], higher)
		}
	}
	for _, domain := range []string{"*.a.b.c", "a.b.c.*", "b.c", "*a.b.cd"} {
		if r := rankDomain(domain, "a.b.c"); r != 0 {
			t.Errorf("%s ranks %d, want no match", domain, r)
		}
	}
}

func TestAmbiguousFilterChains(t *testing.T) {
	same := []*listener.FilterChain{{Name: "a"}, {Name: "b"}}
	if _, err := (connection{}).match(same); err == nil {
		t.Error("two chains that match alike must be an error")
	}
}

func TestTemplates(t *testing.T) {
	for template, paths := range map[string]map[string]bool{
		"/a/*/c":          {"/a/b/c": true, "/a/b/b/c": false, "/a//c": false},
		"/a/**":           {"/a/b/c": true, "/a/": true, "/b": false},
		"/{x}/y/{z=p/*}":  {"/q/y/p/r": true, "/q/y/r": false},
		"/{x}/{y=**}.txt": {"/q/a/b.txt": true, "/q/a/b.md": false},
	} {
		re, err := templateRegexp(template)
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range paths {
			if got := re.MatchString(path); got != want {
				t.Errorf("%s on %s: %v", template, path, got)
			}
		}
	}
}

func addUp(t *testing.T, all []Outcome) {
	t.Helper()
	sum := 0.0
	for _, o := range all {
		if o.Probability <= 0 || o.Probability > 1+1e-9 {
			t.Errorf("probability %v", o.Probability)
		}
		sum += o.Probability
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Errorf("probabilities add up to %v: %v", sum, all)
	}
}

// FuzzCall: whatever a client sends, some outcome comes of it.
func FuzzCall(f *testing.F) {
	f.Add("GET", "reviews:80", "/a/../%2f?x=1#f", "end-user", "jason", true)
	f.Add("", "[::1]:80", "", "", "", false)
	f.Add("OPTIONS", "x", "//..//.", "origin", "https://o", false)
	c := with(f, `
		{"match": {"prefix": "/a", "headers": [{"name": "end-user", "string_match": {"contains": "j", "ignore_case": true}}]}, "route": {"weighted_clusters": {"clusters": [{"name": "a", "weight": 3}, {"name": "gone", "weight": 1}]}}},
		{"match": {"safe_regex": {"regex": "/[a-z]*"}, "runtime_fraction": {"default_value": {"numerator": 25}}}, "redirect": {"https_redirect": true, "prefix_rewrite": "/z"}},
		{"match": {"path_separated_prefix": "/b", "query_parameters": [{"name": "x", "present_match": true}]}, "route": {"cluster": "a", "prefix_rewrite": "/c"}},
		{"match": {"prefix": "/"}, "direct_response": {"status": 404}}`)
	f.Fuzz(func(t *testing.T, method, host, path, name, value string, encrypted bool) {
		call := Call{Destination: toGateway, Method: method, Host: host, Path: path, Headers: Headers{}.With(name, value)}
		if encrypted {
			call.TLS = &TLS{SNI: host, Identity: value}
		}
		all, err := c.Run(call)
		if err != nil {
			t.Fatal(err)
		}
		addUp(t, all)
	})
}

// FuzzRoute: whatever a virtual host says, the answer is outcomes or an error,
// never a panic.
func FuzzRoute(f *testing.F) {
	for _, seed := range []string{
		`{"name": "a", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "a", "prefix_rewrite": "/longer/than/all"}}]}`,
		`{"name": "a", "domains": ["*"], "routes": [{"match": {"path_match_policy": {"typed_config": {"@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", "path_template": "/{a}/**"}}}, "redirect": {"regex_rewrite": {"pattern": {"regex": "."}, "substitution": "\\9"}}}]}`,
	} {
		host := &route.VirtualHost{}
		if err := protojson.Unmarshal([]byte(seed), host); err != nil {
			f.Fatal(err)
		}
		wire, err := proto.Marshal(host)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire, "/a/b?c")
	}
	f.Fuzz(func(t *testing.T, wire []byte, path string) {
		host := &route.VirtualHost{}
		if proto.Unmarshal(wire, host) != nil {
			return
		}
		c := with(t, `{"match": {"prefix": "/"}, "route": {"cluster": "a"}}`)
		c.routes["t"].VirtualHosts = []*route.VirtualHost{host}
		if all, err := c.Run(Call{Destination: toGateway, Host: "x", Path: path}); err == nil {
			addUp(t, all)
		}
	})
}
