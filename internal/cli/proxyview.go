package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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

// tabled makes sorted rows of a dump's entries.
func tabled(text []byte, head []string, row func(node) [][]string) ([][]string, error) {
	entries, err := configs(text)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for _, e := range entries {
		rows = append(rows, row(e)...)
	}
	slices.SortStableFunc(rows, slices.Compare)
	return append([][]string{head}, rows...), nil
}

func listenerRows(text []byte) ([][]string, error) {
	return tabled(text, []string{"NAME", "ADDRESS", "CHAINS", "TO"}, func(e node) [][]string {
		l := e.at("active_state", "listener")
		addr := l.at("address", "socket_address")
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
		return [][]string{{l.at("name").text(), addr.at("address").text() + ":" + addr.at("port_value").text(), fmt.Sprint(len(l.at("filter_chains").list())), joined(to)}}
	})
}

func joined(set map[string]bool) string {
	out := make([]string, 0, len(set))
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	if len(out) > 4 {
		out = append(out[:4], fmt.Sprintf("and %d more", len(set)-4))
	}
	return dash(strings.Join(out, ", "))
}

func routeRows(text []byte) ([][]string, error) {
	return tabled(text, []string{"TABLE", "VIRTUAL HOST", "DOMAINS", "MATCH", "TO"}, func(e node) (rows [][]string) {
		table := e.at("route_config")
		for _, vh := range table.at("virtual_hosts").list() {
			var domains []string
			for _, d := range vh.at("domains").list() {
				domains = append(domains, d.text())
			}
			if len(domains) > 3 {
				domains = append(domains[:3], "...")
			}
			for _, r := range vh.at("routes").list() {
				rows = append(rows, []string{table.at("name").text(), vh.at("name").text(), strings.Join(domains, ","), matchText(r.at("match")), actionText(r)})
			}
		}
		return rows
	})
}

func matchText(m node) string {
	var parts []string
	for _, k := range []string{"prefix", "path", "path_separated_prefix"} {
		if v := m.at(k).text(); v != "" {
			parts = append(parts, k+" "+v)
		}
	}
	if v := m.at("safe_regex", "regex").text(); v != "" {
		parts = append(parts, "regex "+v)
	}
	for _, h := range m.at("headers").list() {
		parts = append(parts, "header "+h.at("name").text())
	}
	return dash(strings.Join(parts, ", "))
}

func actionText(r node) string {
	route := r.at("route")
	switch {
	case route.at("cluster").v != nil:
		return route.at("cluster").text()
	case route.at("weighted_clusters").v != nil:
		var parts []string
		for _, c := range route.at("weighted_clusters", "clusters").list() {
			parts = append(parts, fmt.Sprintf("%s (%s)", c.at("name").text(), c.at("weight").text()))
		}
		return strings.Join(parts, ", ")
	case r.at("redirect").v != nil:
		return "redirect"
	case r.at("direct_response").v != nil:
		return "response " + r.at("direct_response", "status").text()
	}
	return "-"
}

func clusterRows(text []byte) ([][]string, error) {
	return tabled(text, []string{"NAME", "TYPE", "BALANCER", "FROM"}, func(e node) [][]string {
		c := e.at("cluster")
		from := c.at("metadata", "filter_metadata", "istio", "config").text()
		return [][]string{{c.at("name").text(), dash(c.at("type").text()), dash(c.at("lb_policy").text()), dash(from)}}
	})
}

func endpointRows(text []byte) ([][]string, error) {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	rows := [][]string{{"ENDPOINT", "HEALTH", "CLUSTER"}}
	for _, c := range (node{v}).at("cluster_statuses").list() {
		for _, h := range c.at("host_statuses").list() {
			a := h.at("address", "socket_address")
			rows = append(rows, []string{a.at("address").text() + ":" + a.at("port_value").text(), healthText(h.at("health_status")), c.at("name").text()})
		}
	}
	slices.SortStableFunc(rows[1:], func(a, b []string) int { return strings.Compare(a[2]+a[0], b[2]+b[0]) })
	return rows, nil
}

func healthText(h node) string {
	if h.at("failed_outlier_check").text() == "true" {
		return "EJECTED"
	}
	return dash(h.at("eds_health_status").text())
}

func secretRows(text []byte) ([][]string, error) {
	return tabled(text, []string{"NAME", "VERSION", "UPDATED"}, func(e node) [][]string {
		return [][]string{{e.at("name").text(), e.at("version_info").text(), e.at("last_updated").text()}}
	})
}

func bootstrapRows(text []byte) ([][]string, error) {
	entries, err := configs(text)
	if err != nil {
		return nil, err
	}
	rows := [][]string{{"FIELD", "VALUE"}}
	for _, e := range entries {
		n := e.at("bootstrap", "node")
		if n.v == nil {
			continue
		}
		rows = append(rows, []string{"node id", n.at("id").text()}, []string{"cluster", n.at("cluster").text()}, []string{"version", n.at("user_agent_build_version", "version").text()})
	}
	return rows, nil
}
