package cli

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/clustername"
	"github.com/weftmesh/weft/internal/local/controller"
	"github.com/weftmesh/weft/pilot"
)

// waited adds the connections for whose first bytes a pod's own proxy waited in
// vain. Envoy counts them for all ports together: those that may be meant are
// the pod's that belong to what is described, and had connections.
func (from asker) waited(ctx context.Context, p controller.PodStatus, d *pilot.Description) error {
	text, err := from.page(ctx, p, "stats?filter="+url.QueryEscape(`15006\.downstream_pre_cx_timeout|\.inbound_.*\.downstream_cx_total`))
	if err != nil {
		return err
	}
	counts, late := counters(text), uint64(0)
	for name, n := range counts {
		if strings.HasSuffix(name, "15006.downstream_pre_cx_timeout") {
			late += n
		}
	}
	if late == 0 {
		return nil
	}
	text, err = from.page(ctx, p, "config_dump?resource=dynamic_active_clusters&name_regex="+url.QueryEscape(`inbound\|.*`))
	if err != nil {
		return err
	}
	clusters, err := configs(text)
	if err != nil {
		return fmt.Errorf("clusters of %s/%s: %w", p.Namespace, p.Name, err)
	}
	if ports := calledPorts(clusters, counts, d); len(ports) > 0 {
		if d.Late == nil {
			d.Late = &pilot.Late{}
		}
		d.Late.Times += late
		d.Late.Ports = append(d.Late.Ports, ports...)
		slices.Sort(d.Late.Ports)
		d.Late.Ports = slices.Compact(d.Late.Ports)
	}
	return nil
}

// calledPorts are the ports of inbound clusters, of a service or of a whole pod, that
// had connections.
func calledPorts(clusters []node, counts map[string]uint64, d *pilot.Description) (ports []uint32) {
	for _, e := range clusters {
		c := e.at("cluster")
		name := c.at("name").text()
		had := counts["tcp.inbound_"+name+".downstream_cx_total"] + counts["http.inbound_"+name+".downstream_cx_total"]
		of := slices.ContainsFunc(c.at("metadata", "filter_metadata", "istio", "services").list(), func(s node) bool { return s.at("host").text() == d.Host })
		if n, ok := clustername.Parse(name); ok && had > 0 && (of || d.Kind == "Pod") {
			ports = append(ports, n.Number())
		}
	}
	return ports
}

// lateText says what the pods' own proxies waited for, and the cure.
func lateText(l *pilot.Late) string {
	var ports []string
	for _, p := range l.Ports {
		ports = append(ports, strconv.FormatUint(uint64(p), 10))
	}
	return fmt.Sprintf("pod port %s: the pods' own proxies waited %d %s in vain for a client's first bytes: "+
		"give clients of servers that speak first a sidecar, or set the port to DISABLE in a PeerAuthentication's portLevelMtls",
		strings.Join(ports, " or "), l.Times, plural(int(l.Times), "time"))
}
