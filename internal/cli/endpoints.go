package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/clustername"
	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/internal/local/controller"
)

// ejectedState is what healthText says of a host that is left out for failures.
const ejectedState = "EJECTED"

// upstream is a host as one proxy sees it.
type upstream struct {
	by               controller.PodStatus
	cluster, address string
	pod              string // NAMESPACE/NAME, "" of what is no pod of the mesh
	state            string // HEALTHY, UNHEALTHY, EJECTED ...
	requests         uint64 // that this proxy sent it since it has had the cluster
	failed           uint64 // of these
	refused          uint64 // connections
	why              figures.Ejection
}

// upstreams are the hosts of a proxy's clusters.
func upstreams(text []byte, by controller.PodStatus) (out []upstream, err error) {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, fmt.Errorf("clusters: %w", err)
	}
	for _, c := range (node{v}).at("cluster_statuses").list() {
		for _, h := range c.at("host_statuses").list() {
			u := upstream{by: by, cluster: c.at("name").text(), address: addressText(h.at("address")), state: healthText(h.at("health_status"))}
			for _, s := range h.at("stats").list() {
				n, _ := strconv.ParseUint(s.at("value").text(), 10, 64) // left out where it is 0
				switch s.at("name").text() {
				case "rq_total":
					u.requests = n
				case "rq_error":
					u.failed = n
				case "cx_connect_fail":
					u.refused = n
				}
			}
			out = append(out, u)
		}
	}
	return out, nil
}

// explain adds what a proxy's agent knows of the hosts that the proxy leaves out.
func explain(hosts []upstream, known []figures.Ejection) {
	type key struct{ cluster, address string }
	why := map[key]figures.Ejection{}
	for _, e := range known {
		why[key{clustername.Name{Direction: clustername.Outbound, Port: e.Port, Subset: e.Subset, Host: e.Service}.String(), e.Address}] = e
	}
	for i, h := range hosts {
		if h.state == ejectedState {
			hosts[i].why = why[key{h.cluster, h.address}]
		}
	}
}

// endpoint is a host of a service, with what all proxies say of it.
type endpoint struct {
	Service  string    `json:"service"` // its host
	Port     string    `json:"port"`
	Subset   string    `json:"subset,omitempty"`
	Pod      string    `json:"pod,omitempty"` // NAMESPACE/NAME
	Address  string    `json:"address"`
	Proxies  int       `json:"proxies"` // that know it
	Eject    []ejector `json:"ejectedBy"`
	NotReady int       `json:"unhealthyOn,omitempty"` // proxies that take it for unhealthy otherwise
}

// ejector is a proxy that leaves a host out, and what it has counted of it since
// it has had the cluster as it is.
type ejector struct {
	Pod      string    `json:"pod"`
	Reason   string    `json:"reason,omitempty"` // an event of Envoy's outlier detection, as consecutive_5xx
	Since    time.Time `json:"since,omitzero"`
	Requests uint64    `json:"requests"`
	Failed   uint64    `json:"failedRequests"`
	Refused  uint64    `json:"failedConnections"`
}

// endpointsOf joins what proxies say, by service.
func endpointsOf(all []upstream, name, namespace string) []endpoint {
	type key struct{ cluster, address string }
	found := map[key]*endpoint{}
	for _, u := range all {
		of, ok := clustername.ParseOutbound(u.cluster)
		if !ok || !strings.HasPrefix(of.Host, name) {
			continue
		}
		if namespace != "" && !ofNamespace(of.Host, namespace) {
			continue
		}
		k := key{u.cluster, u.address}
		if found[k] == nil {
			found[k] = &endpoint{Service: of.Host, Port: of.Port, Subset: of.Subset, Pod: u.pod, Address: u.address, Eject: []ejector{}}
		}
		e := found[k]
		e.Proxies++
		switch u.state {
		case ejectedState:
			e.Eject = append(e.Eject, ejector{u.by.Namespace + "/" + u.by.Name, u.why.Reason, u.why.Since, u.requests, u.failed, u.refused})
		case "UNHEALTHY", "DRAINING", "TIMEOUT":
			e.NotReady++
		}
	}
	out := []endpoint{}
	for _, e := range found {
		slices.SortFunc(e.Eject, func(a, b ejector) int { return cmp.Compare(a.Pod, b.Pod) })
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b endpoint) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Subset, b.Subset), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Address, b.Address))
	})
	return out
}

// rejected are requests that no host was asked for, since the caller's start.
type rejected struct {
	Caller     string  `json:"caller"` // NAMESPACE/POD
	Service    string  `json:"service"`
	Overflowed float64 `json:"overflowed"` // a circuit breaker was open
	Unhealthy  float64 `json:"noHealthyHost"`
}

// rejectedOf reads Envoy's response flags, which Istio's metrics have. Source:
// Envoy, "Access logging", %RESPONSE_FLAGS%.
func rejectedOf(l look, name, namespace string) []rejected {
	found := map[[2]string]*rejected{}
	for caller, s := range l.samples {
		for f, c := range s.Flows {
			flags := strings.Split(f.Flags, ",")
			over, sick := slices.Contains(flags, "UO"), slices.Contains(flags, "UH")
			if f.Reporter != figures.FromSource || !over && !sick || namespace != "" && f.ServiceNamespace != namespace {
				continue
			}
			k := [2]string{caller, f.Service}
			if f.ServiceNamespace != figures.Unknown {
				k[1] += "." + f.ServiceNamespace
			}
			if host := k[1] + ".svc."; !strings.HasPrefix(host, name) && !strings.HasPrefix(name, host) {
				continue
			}
			if found[k] == nil {
				found[k] = &rejected{Caller: k[0], Service: k[1]}
			}
			if n := max(c.Requests, c.Opened); over {
				found[k].Overflowed += n
			} else {
				found[k].Unhealthy += n
			}
		}
	}
	out := []rejected{}
	for _, r := range found {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b rejected) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Caller, b.Caller))
	})
	return out
}

func (a *app) endpoints() *cobra.Command {
	var k kube
	var namespace string
	var only bool
	c := &cobra.Command{
		Use: "endpoints [SERVICE]", GroupID: "look", Short: "Show the hosts of services, which of them are ejected, by whom, why and since when",
		Long: "Show the hosts of services as the proxies see them: which are ejected as outliers, by whom, why, since when, and what\n" +
			"that proxy has counted of them since the service was configured; and the requests that circuit breakers refused, or for which\n" +
			"there was no healthy host. Of circuit breakers: which limit a caller met, how often, since when it has met it at least once a\n" +
			"minute, and the field to raise; who meets that of connections may wait and not fail. SERVICE is one's host, or how it begins.\n\n" + whichMesh,
		Example: "  weft endpoints reviews\n  weft endpoints --ejected\n  weft endpoints --ejected -o json",
		Args:    exactly(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.reach(&k, namespace)
			if err != nil {
				return err
			}
			r.hosts = !only
			l, err := r.look(cmd.Context())
			if err != nil {
				return err
			}
			name := strings.Join(args, "")
			found := endpointsOf(l.hosts, name, namespace)
			if only {
				found = slices.DeleteFunc(found, func(e endpoint) bool { return len(e.Eject) == 0 })
			}
			return a.printEndpoints(toldOfEndpoints{found, rejectedOf(l, name, namespace), overflowsOf(l.limits, name, namespace), l.missing}, l, only)
		},
	}
	k.flags(c, "")
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "`NAMESPACE` of the services; default: all")
	c.Flags().BoolVar(&only, "ejected", false, "only hosts that some proxy has ejected, with what it counted of them")
	a.outputFlag(c, "json")
	return c
}

// toldOfEndpoints is what weft endpoints says.
type toldOfEndpoints struct {
	Endpoints []endpoint `json:"endpoints"`
	Rejected  []rejected `json:"rejected"`
	Overflows []overflow `json:"overflows"`
	Missing   []string   `json:"unanswered,omitempty"`
}

func (a *app) printEndpoints(t toldOfEndpoints, l look, only bool) error {
	if a.output == "json" {
		return a.json(t)
	}
	rows := endpointTable(t.Endpoints)
	if only {
		rows = ejectedTable(t.Endpoints, l.at)
	}
	if err := a.safeTable(rows); err != nil {
		return err
	}
	if only && len(t.Endpoints) == 0 {
		fmt.Fprintln(a.out, "no host is ejected")
	}
	if len(t.Rejected) > 0 {
		rows := [][]string{{"SERVICE", "CALLER", "BREAKER OPEN", "NO HEALTHY HOST"}}
		for _, r := range t.Rejected {
			rows = append(rows, []string{r.Service, r.Caller, fmt.Sprintf("%.0f", r.Overflowed), fmt.Sprintf("%.0f", r.Unhealthy)})
		}
		fmt.Fprintln(a.out, "\nrequests that reached no host, since the callers' proxies started:")
		if err := a.safeTable(rows); err != nil {
			return err
		}
	}
	if len(t.Overflows) > 0 {
		fmt.Fprintln(a.out, "\nlimits of circuit breakers that callers met; RAISE is the field of the DestinationRule's trafficPolicy:")
		if err := a.safeTable(overflowTable(t.Overflows, l.at)); err != nil {
			return err
		}
	}
	a.unanswered(l)
	return nil
}

func endpointTable(found []endpoint) [][]string {
	rows := [][]string{{"SERVICE", "PORT", "SUBSET", "POD", "ADDRESS", "PROXIES", "EJECTED BY", "UNHEALTHY ON"}}
	for _, e := range found {
		rows = append(rows, []string{e.Service, e.Port, e.Subset, e.Pod, e.Address, fmt.Sprint(e.Proxies), some0(len(e.Eject)), some0(e.NotReady)})
	}
	return rows
}

// some0 is a number, nothing where it is 0.
func some0(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func ejectedTable(found []endpoint, now time.Time) [][]string {
	rows := [][]string{{"SERVICE", "PORT", "SUBSET", "POD", "ADDRESS", "EJECTED BY", "WHY", "SINCE", "IT COUNTED"}}
	for _, e := range found {
		for _, by := range e.Eject {
			rows = append(rows, []string{e.Service, e.Port, e.Subset, e.Pod, e.Address, by.Pod, whyText(by.Reason), sinceText(by.Since, now), countedText(by)})
		}
	}
	return rows
}

// whyText says an event of Envoy's in a person's words. Source:
// envoy.data.cluster.v3.OutlierEjectionType.
func whyText(reason string) string {
	switch reason {
	case "consecutive_5xx":
		return "5xx in a row"
	case "consecutive_gateway_failure":
		return "gateway errors in a row"
	case "consecutive_local_origin_failure":
		return "failed connections in a row"
	}
	return strings.ReplaceAll(reason, "_", " ")
}

func sinceText(since, now time.Time) string {
	if since.IsZero() {
		return ""
	}
	return age(max(now.Sub(since), 0))
}

// countedText says what an ejecting proxy has seen of the host.
func countedText(e ejector) string {
	out := fmt.Sprintf("%d of %d requests failed", e.Failed, e.Requests)
	if e.Refused > 0 {
		out += fmt.Sprintf(", %d %s failed", e.Refused, plural(int(e.Refused), "connection"))
	}
	return out
}

// safeTable prints a table of what workloads may name themselves.
func (a *app) safeTable(rows [][]string) error {
	for _, row := range rows {
		for i := range row {
			row[i] = dash(figures.Printable(row[i], 2*longestName))
		}
	}
	return a.table(rows)
}
