package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/clustername"
	"github.com/weftmesh/weft/internal/local/controller"
	"github.com/weftmesh/weft/pilot"
)

// askedAtMost bounds the proxies that are asked what they have seen: in a
// cluster each is a connection by the API server.
const askedAtMost = 50

// look fills in what the mesh's proxies have seen of ports without a protocol,
// and what the pods' own have waited for.
func (a *app) look(ctx context.Context, w *configuration, d *pilot.Description) error {
	if len(d.Ports) == 0 {
		return nil
	}
	from, err := a.asker(ctx, &w.kube, "")
	if err != nil {
		return err
	}
	from.pods = slices.DeleteFunc(from.pods, func(p controller.PodStatus) bool { return p.Synced == "" })
	near := func(p controller.PodStatus) bool { return p.Namespace == d.Namespace }
	its := func(p controller.PodStatus) bool {
		return near(p) && (d.Kind == "Pod" && p.Name == d.Name || slices.Contains(d.Pods, p.Name))
	}
	slices.SortStableFunc(from.pods, func(p, q controller.PodStatus) int { return order(near(p), near(q)) })
	foundOut := slices.ContainsFunc(d.Ports, isFoundOut)
	if !foundOut { // only the pods' own are of interest
		from.pods = slices.DeleteFunc(from.pods, func(p controller.PodStatus) bool { return !its(p) })
	}
	for _, p := range from.pods[:min(len(from.pods), askedAtMost)] {
		if foundOut {
			if err := from.add(ctx, p, d); err != nil {
				return err
			}
		}
		if its(p) {
			if err := from.waited(ctx, p, d); err != nil {
				return err
			}
		}
	}
	return nil
}

func isFoundOut(p pilot.PortDescription) bool { return p.Protocol == "auto" }

// order puts what holds first.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// add adds what one proxy has seen. Its listeners say which of them lead to a
// port, and their counters begin with their address.
func (from asker) add(ctx context.Context, p controller.PodStatus, d *pilot.Description) error {
	var numbers []string
	for _, port := range d.Ports {
		if isFoundOut(port) {
			numbers = append(numbers, strconv.FormatUint(uint64(port.Number), 10))
		}
	}
	text, err := from.page(ctx, p, "config_dump?resource=dynamic_listeners&name_regex="+url.QueryEscape(".*_("+strings.Join(numbers, "|")+")"))
	if err != nil {
		return err
	}
	listeners, err := configs(text)
	if err != nil {
		return fmt.Errorf("listeners of %s/%s: %w", p.Namespace, p.Name, err)
	}
	text, err = from.page(ctx, p, "stats?filter="+url.QueryEscape(`^(listener|http|tcp)\..*(cx_http1_total|cx_http2_total|downstream_cx_total|pre_cx_timeout)`))
	if err != nil {
		return err
	}
	counts := counters(text)
	requests, err := from.page(ctx, p, "stats?format=prometheus&filter="+url.QueryEscape(`^istio.*requests_total`))
	if err != nil {
		return err
	}
	for i := range d.Ports {
		port := &d.Ports[i]
		if !isFoundOut(*port) {
			continue
		}
		if port.Seen == nil {
			port.Seen = &pilot.Seen{}
		}
		host := cmp.Or(port.Service, d.Host)
		for _, e := range listeners {
			if l := e.at("active_state", "listener"); tells(l, clustername.Of(port.Number, "", host)) {
				note(port.Seen, counts, l)
			}
		}
		port.Seen.GRPC = port.Seen.GRPC || hasGRPC(requests, host)
	}
	return nil
}

// tells reports whether a listener is one port's alone and looks for HTTP before
// it leads to a cluster.
func tells(l node, cluster string) bool {
	looks := slices.ContainsFunc(l.at("listener_filters").list(), func(f node) bool { return strings.HasSuffix(f.at("name").text(), ".http_inspector") })
	shared := l.at("address", "socket_address", "address").text() == "0.0.0.0"
	return looks && !shared && slices.ContainsFunc(l.at("filter_chains").list(), func(c node) bool {
		return slices.ContainsFunc(c.at("filters").list(), func(f node) bool { return f.at("typed_config", "cluster").text() == cluster })
	})
}

// statName is how Envoy writes a name in those of statistics, where a colon
// would end a part.
func statName(s string) string { return strings.ReplaceAll(s, ":", "_") }

// counters reads Envoy's "name: value" lines.
func counters(text []byte) map[string]uint64 {
	out := map[string]uint64{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			out[name] = n
		}
	}
	return out
}

// note adds a listener's counters, and those of the filters behind it, which
// have its name.
func note(seen *pilot.Seen, counts map[string]uint64, l node) {
	at := l.at("address", "socket_address")
	own := "listener." + statName(net.JoinHostPort(at.at("address").text(), at.at("port_value").text()))
	name := statName(l.at("name").text())
	late := counts[own+".downstream_pre_cx_timeout"]
	seen.HTTP1 += counts["http.outbound_"+name+".downstream_cx_http1_total"]
	seen.HTTP2 += counts["http.outbound_"+name+".downstream_cx_http2_total"]
	seen.Late += late
	if all := counts["tcp."+name+".downstream_cx_total"]; all > late {
		seen.Bytes += all - late
	}
}

// hasGRPC reports whether some request to a host is counted as gRPC.
func hasGRPC(page []byte, host string) bool {
	for lines := bufio.NewScanner(bytes.NewReader(page)); lines.Scan(); {
		if line := lines.Text(); strings.Contains(line, `destination_service="`+host+`"`) && strings.Contains(line, `request_protocol="grpc"`) {
			return true
		}
	}
	return false
}

// seenText says what was seen of a port, and what to do about it.
func seenText(p pilot.PortDescription) string {
	s, second := p.Seen, "HTTP/2"
	if s.GRPC {
		second = "HTTP/2, some of it gRPC"
	}
	var kinds []string
	for _, k := range []struct {
		n    uint64
		name string
	}{{s.HTTP1, "HTTP/1"}, {s.HTTP2, second}, {s.Bytes, "TLS or other bytes"}} {
		if k.n > 0 {
			kinds = append(kinds, fmt.Sprintf("%d %s %s", k.n, plural(int(k.n), "time"), k.name))
		}
	}
	out := fmt.Sprintf("port %d: no protocol named; ", p.Number)
	if len(p.Service) > 0 {
		out = fmt.Sprintf("port %d of %s: no protocol named; ", p.Number, p.Service)
	}
	switch {
	case len(kinds) == 0 && s.Late == 0:
		return out + "its clients' proxies have seen no connection yet"
	case len(kinds) > 0:
		out += "seen: " + strings.Join(kinds, ", ") + "; "
	}
	switch name := cmp.Or(p.Name, "NAME"); {
	case s.Late > 0 && s.HTTP1+s.HTTP2 == 0:
		return out + fmt.Sprintf("clients' bytes came late %d %s: name it tcp-%s, and nobody waits for them", s.Late, plural(int(s.Late), "time"), name)
	case s.Late > 0:
		return out + fmt.Sprintf("clients' bytes came late %d %s, and passed HTTP's routes by: name it for what it carries, http-%s, grpc-%s or tcp-%s", s.Late, plural(int(s.Late), "time"), name, name, name)
	case s.Bytes == 0 && s.HTTP2 == 0:
		return out + "name it http-" + name
	case s.Bytes == 0 && s.HTTP1 == 0 && s.GRPC:
		return out + "name it grpc-" + name
	case s.HTTP1+s.HTTP2 == 0:
		return out + "name it tls-" + name + " or tcp-" + name
	}
	return out + "name it for what it carries"
}
