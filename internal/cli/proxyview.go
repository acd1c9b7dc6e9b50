package cli

import (
	"cmp"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"path"
	"slices"
	"strings"
	"time"
)

// view is one kind of configuration: where Envoy gives it, and its table.
type view struct {
	path string
	rows func(text []byte) ([][]string, error)
}

func configView(kind string) (view, error) {
	switch strings.TrimSuffix(kind, "s") {
	case "listener":
		return view{"config_dump?resource=dynamic_listeners", listenerRows}, nil
	case "route":
		return view{"config_dump?resource=dynamic_route_configs", routeRows}, nil
	case "cluster":
		return view{"config_dump?resource=dynamic_active_clusters", clusterRows}, nil
	case "endpoint":
		return view{"clusters?format=json", endpointRows}, nil
	case "secret":
		return view{"config_dump?resource=dynamic_active_secrets", secretRows}, nil
	case "bootstrap":
		return view{"config_dump?mask=bootstrap", bootstrapRows}, nil
	}
	return view{}, fmt.Errorf("proxy-config %s: it is one of %s", kind, strings.Join(configKinds, ", "))
}

// node is a piece of Envoy's JSON; its methods are safe on what is not there.
type node struct{ v any }

func (n node) at(path ...string) node {
	for _, p := range path {
		m, _ := n.v.(map[string]any)
		n = node{m[p]}
	}
	return n
}

func (n node) list() (out []node) {
	l, _ := n.v.([]any)
	for _, v := range l {
		out = append(out, node{v})
	}
	return out
}

func (n node) text() string {
	if n.v == nil {
		return ""
	}
	return fmt.Sprint(n.v)
}

// configs are the entries of a config_dump with ?resource=.
func configs(text []byte) ([]node, error) {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	return node{v}.at("configs").list(), nil
}

// entryName is what a dump's entry is called, whatever its kind.
func entryName(e node) string {
	for _, n := range []node{e.at("name"), e.at("route_config", "name"), e.at("cluster", "name")} {
		if n.v != nil {
			return n.text()
		}
	}
	return ""
}

// tabled makes rows of a dump's entries, which it sorts by name.
func tabled(text []byte, head []string, row func(node) [][]string) ([][]string, error) {
	entries, err := configs(text)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	slices.SortStableFunc(entries, func(a, b node) int { return strings.Compare(entryName(a), entryName(b)) })
	for _, e := range entries {
		rows = append(rows, row(e)...)
	}
	return append([][]string{head}, rows...), nil
}

func listenerRows(text []byte) ([][]string, error) {
	return tabled(text, []string{"NAME", "ADDRESS", "CHAINS", "TO"}, func(e node) (rows [][]string) {
		l := e.at("active_state", "listener")
		chains := append(l.at("filter_chains").list(), l.at("default_filter_chain"))
		to := map[string]bool{}
		for _, c := range chains {
			for _, f := range c.at("filters").list() {
				cfg := f.at("typed_config")
				if n := cfg.at("rds", "route_config_name").text(); n != "" {
					to["route "+n] = true
				} else if n := cfg.at("cluster").text(); n != "" {
					to["cluster "+n] = true
				}
			}
		}
		row := []string{l.at("name").text(), addressText(l.at("address")), fmt.Sprint(len(l.at("filter_chains").list()))}
		return spread(row, slices.Sorted(maps.Keys(to)))
	})
}

// spread makes a row for each last cell; what the first says is not repeated.
func spread(row, last []string) (rows [][]string) {
	if len(last) == 0 {
		last = []string{"-"}
	}
	for i, cell := range last {
		if i > 0 {
			row = make([]string, len(row))
		}
		rows = append(rows, append(slices.Clone(row), cell))
	}
	return rows
}

// addressText is HOST:PORT, or the last part of a Unix socket's path.
func addressText(a node) string {
	if p := a.at("pipe", "path").text(); p != "" {
		return "unix:" + path.Base(p)
	}
	s := a.at("socket_address")
	return net.JoinHostPort(s.at("address").text(), s.at("port_value").text())
}

func routeRows(text []byte) ([][]string, error) {
	return tabled(text, []string{"TABLE", "HOST", "MATCH", "TO"}, func(e node) (rows [][]string) {
		table := e.at("route_config")
		for _, vh := range table.at("virtual_hosts").list() {
			for _, r := range vh.at("routes").list() {
				row := []string{table.at("name").text(), hostText(vh.at("domains").list()), matchText(r.at("match"))}
				rows = append(rows, spread(row, actionTexts(r))...)
			}
		}
		return rows
	})
}

// hostText is a virtual host's first domain, without what all in a cluster end
// with.
func hostText(domains []node) string {
	if len(domains) == 0 {
		return "-"
	}
	return strings.TrimSuffix(domains[0].text(), ".svc.cluster.local")
}

// matchText is short: /a for exactly this path, /a* for what begins so, and the
// names of whatever else must match.
func matchText(m node) string {
	var parts []string
	for _, k := range []struct{ key, after string }{{"path", ""}, {"prefix", "*"}, {"path_separated_prefix", "/*"}} {
		if v := m.at(k.key).text(); v != "" {
			parts = append(parts, v+k.after)
		}
	}
	if v := m.at("safe_regex", "regex").text(); v != "" {
		parts = append(parts, "regex "+v)
	}
	for _, h := range m.at("headers").list() {
		parts = append(parts, "header "+h.at("name").text())
	}
	for _, q := range m.at("query_parameters").list() {
		parts = append(parts, "query "+q.at("name").text())
	}
	return dash(strings.Join(parts, ", "))
}

// actionTexts are where a route sends requests, one for each weight.
func actionTexts(r node) (out []string) {
	route := r.at("route")
	switch {
	case route.at("cluster").v != nil:
		return []string{route.at("cluster").text()}
	case route.at("weighted_clusters").v != nil:
		for _, c := range route.at("weighted_clusters", "clusters").list() {
			out = append(out, fmt.Sprintf("%s (%s)", c.at("name").text(), c.at("weight").text()))
		}
		return out
	case r.at("redirect").v != nil:
		return []string{"redirect"}
	case r.at("direct_response").v != nil:
		return []string{"response " + r.at("direct_response", "status").text()}
	}
	return nil
}

func clusterRows(text []byte) ([][]string, error) {
	return tabled(text, []string{"NAME", "TYPE", "BALANCER", "DESTINATIONRULE"}, func(e node) [][]string {
		c := e.at("cluster")
		from := c.at("metadata", "filter_metadata", "istio", "config").text()
		return [][]string{{c.at("name").text(), dash(c.at("type").text()), dash(balancer(c)), dash(objectText(from))}}
	})
}

// balancer leaves the original destination's out: it is no choice. A typed
// policy takes the place of lb_policy.
func balancer(c node) string {
	if all := c.at("load_balancing_policy", "policies").list(); len(all) > 0 {
		name := strings.TrimPrefix(all[0].at("typed_extension_config", "name").text(), "envoy.load_balancing_policies.")
		if name == "client_side_weighted_round_robin" {
			return "LATENCY_AWARE"
		}
		return strings.ToUpper(name)
	}
	return strings.TrimPrefix(c.at("lb_policy").text(), "CLUSTER_PROVIDED")
}

// objectText is NAMESPACE/NAME of what Istio's metadata writes as
// /apis/GROUP/VERSION/namespaces/NAMESPACE/KIND/NAME.
func objectText(resource string) string {
	parts := strings.Split(resource, "/")
	if len(parts) != 8 {
		return resource
	}
	return parts[5] + "/" + parts[7]
}

func endpointRows(text []byte) ([][]string, error) {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	rows := [][]string{{"ENDPOINT", "HEALTH", "WEIGHT", "CLUSTER"}}
	for _, c := range (node{v}).at("cluster_statuses").list() {
		for _, h := range c.at("host_statuses").list() {
			rows = append(rows, []string{addressText(h.at("address")), healthText(h.at("health_status")), dash(h.at("weight").text()), c.at("name").text()})
		}
	}
	slices.SortFunc(rows[1:], func(a, b []string) int {
		return cmp.Or(strings.Compare(a[3], b[3]), strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1]))
	})
	return slices.CompactFunc(rows, slices.Equal), nil // each of Envoy's threads may have one of its own
}

func healthText(h node) string {
	if h.at("failed_active_health_check").text() == "true" {
		return "UNHEALTHY"
	}
	if h.at("failed_outlier_check").text() == "true" {
		return ejectedState
	}
	return dash(h.at("eds_health_status").text())
}

func secretRows(text []byte) ([][]string, error) {
	return tabled(text, []string{"NAME", "HOLDS", "VALID UNTIL", "UPDATED"}, func(e node) [][]string {
		holds, until := certificateText(e.at("secret"))
		updated, _, _ := strings.Cut(e.at("last_updated").text(), ".")
		return [][]string{{e.at("name").text(), holds, until, updated + "Z"}}
	})
}

// certificateText says whose certificate a secret holds, and until when it is
// valid: of a chain the first one, which is the holder's own.
func certificateText(secret node) (holds, until string) {
	chain := secret.at("tls_certificate", "certificate_chain")
	if chain.v == nil {
		chain = secret.at("validation_context", "trusted_ca")
	}
	text, err := base64.StdEncoding.DecodeString(chain.at("inline_bytes").text())
	if err != nil || len(text) == 0 {
		text = []byte(chain.at("inline_string").text())
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return "-", "-"
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "unreadable: " + err.Error(), "-"
	}
	holds = cert.Subject.CommonName
	switch {
	case len(cert.URIs) > 0:
		holds = cert.URIs[0].String()
	case len(cert.DNSNames) > 0:
		holds = cert.DNSNames[0]
	}
	return dash(holds), cert.NotAfter.UTC().Format(time.RFC3339)
}

// number is a number that JSON leaves out where it is 0.
func number(n node) string {
	if n.v == nil {
		return "0"
	}
	return n.text()
}

func bootstrapRows(text []byte) ([][]string, error) {
	entries, err := configs(text)
	if err != nil {
		return nil, err
	}
	rows := [][]string{{"FIELD", "VALUE"}}
	for _, e := range entries {
		b := e.at("bootstrap")
		n := b.at("node")
		if n.v == nil {
			continue
		}
		v := n.at("user_agent_build_version", "version")
		rows = append(rows,
			[]string{"node id", n.at("id").text()},
			[]string{"cluster", n.at("cluster").text()},
			[]string{"Envoy", fmt.Sprintf("%s.%s.%s", number(v.at("major_number")), number(v.at("minor_number")), number(v.at("patch")))},
			[]string{"admin", addressText(b.at("admin", "address"))})
		for _, c := range b.at("static_resources", "clusters").list() {
			rows = append(rows, []string{"static cluster", c.at("name").text()})
		}
	}
	return rows, nil
}
