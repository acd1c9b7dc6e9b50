package dashboard

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/internal/dashboard"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/figures"
)

// at is when all that is drawn was counted: pictures are the same each time.
var at = time.Date(2026, 5, 4, 10, 30, 0, 0, time.UTC)

const window = 60.0

// mesh is what a fixture's server tells.
type mesh struct {
	now     dashboard.Now
	config  dashboard.Config
	objects map[string]string // YAML by KIND/NAMESPACE/NAME
}

// call is an edge, by the short words below.
type call struct {
	from, to string  // NAMESPACE/WORKLOAD; "": unknown
	service  string  // that was asked, of to's namespace
	rps      float64 // of requests
	success  float64
	p95      float64
	mtls     float64
	bytes    float64 // a second; of TCP where rps is 0
}

func (c call) figures() figures.Figures {
	f := figures.Figures{Requests: c.rps * window, Failed: math.Round(c.rps * window * (1 - c.success)), MutualTLS: &c.mtls, RequestRate: &c.rps}
	received, sent, opened := c.bytes/5, c.bytes, 0.0
	if c.rps > 0 {
		share := (f.Requests - f.Failed) / f.Requests
		f.SuccessRate, f.Latency = &share, &figures.Latency{P50: c.p95 / 3, P95: c.p95, P99: c.p95 * 1.8}
	} else {
		opened = 0.4
		f.Connections = opened * window
	}
	f.Received, f.Sent = received*window, sent*window
	f.ReceivedRate, f.SentRate, f.ConnectionRate = &received, &sent, &opened
	return f
}

// end is a workload, a host that no workload of is known, or nobody.
func end(name string) figures.Node {
	if name == "" {
		return figures.Node{Namespace: figures.Unknown, Workload: figures.Unknown, Identity: figures.Unknown}
	}
	namespace, workload, found := strings.Cut(name, "/")
	if !found {
		return figures.Node{Namespace: figures.Unknown, Workload: figures.Unknown, Identity: figures.Unknown, Service: name}
	}
	return figures.Node{Namespace: namespace, Workload: workload, Identity: "spiffe://cluster.local/ns/" + namespace + "/sa/" + workload}
}

// pod is one of the inventory: NAMESPACE/WORKLOAD, how many, and what it is.
func pods(name, version, proxy string, n int) (out []dashboard.Pod) {
	namespace, workload, _ := strings.Cut(name, "/")
	app, _, _ := strings.Cut(workload, "-v")
	for i := range n {
		p := dashboard.Pod{
			Namespace: namespace, Name: fmt.Sprintf("%s-%c", workload, 'a'+i), Workload: workload, App: app, Version: version,
			Address: fmt.Sprintf("10.244.%d.%d", len(workload), i+10), Proxy: proxy, Synced: "yes", Ready: true, Phase: "Running", Age: time.Duration(i+1) * 5 * time.Hour,
		}
		if proxy == "" {
			p.Synced = ""
		}
		out = append(out, p)
	}
	return out
}

// made is a mesh of pods and calls: rows are their sums.
func made(inventory []dashboard.Pod, calls []call) mesh {
	n := dashboard.Now{
		Mesh: dashboard.Mesh{Name: "bookshop", Local: true}, At: at, Seconds: window, Missing: []string{}, Inventory: inventory,
		Ejected: []dashboard.Ejection{}, Overflows: []dashboard.Overflow{},
	}
	served := map[string][]figures.Figures{}
	for _, c := range calls {
		f := c.figures()
		e := figures.Edge{From: end(c.from), To: end(c.to), By: figures.ByServer, Figures: f}
		if c.mtls == 0 && c.from == "" {
			e.By = figures.ByServer
		}
		n.Edges = append(n.Edges, e)
		if namespace, _, found := strings.Cut(c.to, "/"); found && c.service != "" {
			by := e
			by.To = figures.Node{Namespace: namespace, Workload: figures.Unknown, Service: c.service}
			n.Callers = append(n.Callers, by)
		}
		if strings.Contains(c.to, "/") {
			served[c.to] = append(served[c.to], f)
		}
	}
	n.Workloads, n.Pods = rows(inventory, served)
	n.Services, n.Routes = asked(calls)
	return mesh{now: n, config: dashboard.Config{At: at, Objects: []dashboard.Object{}, Splits: []dashboard.Split{}}, objects: map[string]string{}}
}

func rows(inventory []dashboard.Pod, served map[string][]figures.Figures) (workloads, ofPods []figures.Row) {
	none := 0
	seen := map[string]bool{}
	for _, p := range inventory {
		if p.Proxy == "" {
			continue
		}
		by := figures.ByServer
		if p.Proxy == "gateway" {
			by = figures.ByGateway
		}
		f := sum(served[p.Namespace+"/"+p.Workload])
		if name := p.Namespace + "/" + p.Workload; !seen[name] {
			seen[name] = true
			workloads = append(workloads, figures.Row{Namespace: p.Namespace, Name: p.Workload, By: by, Ejected: &none, Figures: f})
		}
		ofPods = append(ofPods, figures.Row{Namespace: p.Namespace, Name: p.Name, By: by, Ejected: &none, Figures: f})
	}
	return workloads, ofPods
}

func asked(calls []call) (services, routes []figures.Row) {
	byService, byRoute := map[string][]figures.Figures{}, map[[2]string][]figures.Figures{}
	for _, c := range calls {
		if namespace, _, found := strings.Cut(c.to, "/"); found && c.service != "" {
			key := namespace + "/" + c.service
			byService[key] = append(byService[key], c.figures())
			byRoute[[2]string{key, c.to}] = append(byRoute[[2]string{key, c.to}], c.figures())
		}
	}
	for key, fs := range byService {
		namespace, name, _ := strings.Cut(key, "/")
		services = append(services, figures.Row{Namespace: namespace, Name: name, Figures: sum(fs)})
	}
	for key, fs := range byRoute {
		namespace, name, _ := strings.Cut(key[0], "/")
		_, to, _ := strings.Cut(key[1], "/")
		_, version, found := strings.Cut(to, "-")
		if !found {
			version = "v1"
		}
		all, part := sum(byService[key[0]]), sum(fs)
		share := (part.Requests + part.Connections) / (all.Requests + all.Connections)
		routes = append(routes, figures.Row{Namespace: namespace, Name: name, To: to, Version: version, Share: &share, Figures: part})
	}
	order := func(a, b figures.Row) int { return strings.Compare(a.Namespace+a.Name+a.To, b.Namespace+b.Name+b.To) }
	slices.SortFunc(services, order)
	slices.SortFunc(routes, order)
	return services, routes
}

// sum adds up what is asked of one; its latency is that of the busiest caller.
func sum(of []figures.Figures) figures.Figures {
	var out figures.Figures
	var rate, opened, received, sent, most float64
	for _, f := range of {
		out.Requests, out.Failed, out.Connections = out.Requests+f.Requests, out.Failed+f.Failed, out.Connections+f.Connections
		out.Received, out.Sent, out.MutualTLS = out.Received+f.Received, out.Sent+f.Sent, f.MutualTLS
		rate, opened, received, sent = rate+*f.RequestRate, opened+*f.ConnectionRate, received+*f.ReceivedRate, sent+*f.SentRate
		if f.Latency != nil && f.Requests > most {
			most, out.Latency = f.Requests, f.Latency
		}
	}
	if out.Requests > 0 {
		share := (out.Requests - out.Failed) / out.Requests
		out.SuccessRate = &share
	}
	out.RequestRate, out.ConnectionRate, out.ReceivedRate, out.SentRate = &rate, &opened, &received, &sent
	return out
}

// controlPlane is the pilot, which has no proxy.
func controlPlane() []dashboard.Pod {
	out := pods("weft-system/weft-pilot", "", "", 1)
	out[0].Control = true
	return out
}

// bookshop is the mesh that most cases and all pictures show.
func bookshop() mesh {
	inventory := slices.Concat(
		pods("shop-gateway/gateway", "", "gateway", 1), pods("default/frontend", "v1", "sidecar", 2), pods("default/details", "v1", "sidecar", 1),
		pods("default/reviews-v1", "v1", "sidecar", 2), pods("default/reviews-v2", "v2", "sidecar", 1), pods("default/ratings", "v1", "sidecar", 3),
		pods("data/postgres", "", "sidecar", 1), pods("data/backup", "", "sidecar", 1), pods("default/legacy", "", "", 1), pods("default/quotes", "v1", "proxyless", 1), controlPlane(),
	)
	m := made(inventory, []call{
		{to: "default/frontend", service: "frontend", rps: 0.9, success: 1, p95: 61, bytes: 4100},
		{from: "shop-gateway/gateway", to: "default/frontend", service: "frontend", rps: 48.2, success: 0.9965, p95: 58, mtls: 1, bytes: 412_000},
		{from: "default/frontend", to: "default/details", service: "details", rps: 49.1, success: 1, p95: 7.2, mtls: 1, bytes: 96_000},
		{from: "default/frontend", to: "default/reviews-v1", service: "reviews", rps: 39.6, success: 0.9992, p95: 31, mtls: 1, bytes: 210_000},
		{from: "default/frontend", to: "default/reviews-v2", service: "reviews", rps: 9.5, success: 0.93, p95: 212, mtls: 1, bytes: 52_000},
		{from: "default/reviews-v2", to: "default/ratings", service: "ratings", rps: 9.5, success: 0.972, p95: 44, mtls: 1, bytes: 19_000},
		{from: "default/frontend", to: "default/quotes", service: "quotes", rps: 12.4, success: 1, p95: 3.1, mtls: 1, bytes: 9_000},
		{from: "default/legacy", to: "default/details", service: "details", rps: 1.7, success: 1, p95: 8, mtls: 0.35, bytes: 3_000},
		{from: "default/ratings", to: "data/postgres", service: "postgres", mtls: 1, bytes: 18_400},
		{from: "default/frontend", to: "payments.example.com", rps: 0.6, success: 0.88, p95: 640, bytes: 900},
	})
	one := 1
	for i, w := range m.now.Workloads {
		if w.Name == "ratings" {
			m.now.Workloads[i].Ejected = &one
		}
	}
	for i, p := range m.now.Pods {
		if p.Name == "ratings-b" {
			m.now.Pods[i].Ejected = &one
		}
	}
	m.now.Missing = []string{"data/backup-a: dial 10.244.6.10:15020: connection refused"}
	m.now.Ejected = []dashboard.Ejection{{
		Service: "ratings.default.svc.cluster.local", Port: "9080", Pod: "default/ratings-b", Address: "10.244.7.11:9080", Since: at.Add(-95 * time.Second),
		By: []dashboard.Ejector{{Pod: "default/reviews-v2-a", Reason: "consecutive_gateway_failure", Since: at.Add(-95 * time.Second), Requests: 1840, Failed: 52}},
	}}
	m.now.Overflows = []dashboard.Overflow{{
		Service: "details.default.svc.cluster.local", Port: "9080", Caller: "default/frontend-a", Workload: "frontend", Limit: "pending_requests", Allowed: 16, Times: 2310,
		Since: at.Add(-200 * time.Second), Field: "connectionPool.http.http1MaxPendingRequests",
	}, {Service: "ratings.default.svc.cluster.local", Port: "9080", Subset: "v1", Caller: "default/reviews-v2-a", Workload: "reviews-v2", Limit: "retries", Times: 4, Field: "connectionPool.http.maxRetries"}}
	m.config.Splits = splits()
	m.config.Objects, m.objects = objects(), map[string]string{"VirtualService/default/reviews": reviewsYAML}
	return m
}

func splits() []dashboard.Split {
	reviews := func(subset string, share float64) dashboard.Destination {
		return dashboard.Destination{
			Host: "reviews.default.svc.cluster.local", Service: "reviews", Namespace: "default", Subset: subset, Share: share, Workloads: []string{"reviews-" + subset},
		}
	}
	return []dashboard.Split{
		{
			Namespace: "default", Name: "reviews", Hosts: []string{"reviews.default.svc.cluster.local"}, Gateways: []string{"mesh"}, Protocol: "http", Route: "canary",
			Destinations: []dashboard.Destination{reviews("v1", 0.8), reviews("v2", 0.2)},
		},
		{
			Namespace: "default", Name: "frontend", Hosts: []string{"shop.example.com"}, Gateways: []string{"shop-gateway/gateway"}, Protocol: "http", Route: "1",
			Destinations: []dashboard.Destination{
				{Host: "details.default.svc.cluster.local", Service: "details", Namespace: "default", Share: 0.7, Workloads: []string{"details"}},
				{Host: "quotes.default.svc.cluster.local", Service: "quotes", Namespace: "default", Share: 0.3, Workloads: []string{"quotes"}},
			},
		},
	}
}

func objects() []dashboard.Object {
	object := func(kind, name, programmed string, live, proxies int, found ...diag.Diagnostic) dashboard.Object {
		o := dashboard.Object{Kind: kind, Namespace: "default", Name: name, Accepted: true, Programmed: programmed, Live: live, Proxies: proxies, Findings: []diag.Diagnostic{}}
		for _, f := range found {
			f.Object = diag.Object{Kind: kind, Namespace: "default", Name: name, File: "mesh/" + name + ".yaml", Line: 3}
			o.Findings = append(o.Findings, f)
			o.Accepted = o.Accepted && f.Severity != diag.Error
		}
		return o
	}
	return []dashboard.Object{
		object("VirtualService", "reviews", "live", 11, 11),
		object("VirtualService", "frontend", "pending", 0, 1),
		object("VirtualService", "ratings", "live", 4, 4, diag.Diagnostic{
			Code: "IST0101", Severity: diag.Error, Path: "spec.http[0].route[1].destination.subset",
			Message: `no DestinationRule in sight has the subset "v9" for ratings.default.svc.cluster.local`, Cure: "add the subset to the DestinationRule, or name one that it has: v1, v2",
		}),
		object("DestinationRule", "ratings", "live", 11, 11),
		object("DestinationRule", "reviews", "live", 11, 11, diag.Diagnostic{
			Code: "IST0173", Severity: diag.Warning, Path: "spec.subsets[2].labels", Message: "no pod of reviews.default.svc.cluster.local has these labels", Cure: "correct the labels, or deploy such pods before you send requests there",
		}),
		object("AuthorizationPolicy", "frontend-only", "refused", 3, 5),
		object("Sidecar", "scope", "none", 0, 0),
		object("PeerAuthentication", "default", "live", 12, 12),
	}
}

const reviewsYAML = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  namespace: default
spec:
  hosts: [reviews]
  http:
  - name: canary
    route:
    - destination: {host: reviews, subset: v1}
      weight: 80
    - destination: {host: reviews, subset: v2}
      weight: 20
`

// large is a mesh of so many services, each of which calls some others.
func large(services int) mesh {
	var inventory []dashboard.Pod
	var calls []call
	name := func(i int) string { return fmt.Sprintf("team-%d/service-%03d", i%8, i) }
	for i := range services {
		inventory = append(inventory, pods(name(i), "v1", "sidecar", 1)...)
		for _, step := range []int{1, 8} {
			if to := i*2 + step; to < services {
				_, service, _ := strings.Cut(name(to), "/")
				calls = append(calls, call{from: name(i), to: name(to), service: service, rps: float64(1 + i%9), success: 1 - float64(i%5)/50, p95: float64(5 + i%40), mtls: 1, bytes: 1000})
			}
		}
	}
	return made(inventory, calls)
}

// history is an hour of a row, with a hole in it.
func history() dashboard.History {
	h := dashboard.History{StepSeconds: 10, Points: []dashboard.Point{}}
	for i := range 360 {
		if i >= 200 && i < 212 {
			continue
		}
		wave := math.Sin(float64(i)/23) + 0.4*math.Sin(float64(i)/3.1)
		value := func(v float64) *float64 { return &v }
		success := 1.0
		if i > 280 && i < 310 {
			success = 0.94 + 0.01*math.Abs(wave)
		}
		h.Points = append(h.Points, dashboard.Point{
			At: at.Add(time.Duration(i-359) * 10 * time.Second), Rate: value(40 + 8*wave), Success: &success,
			P50: value(18 + 2*wave), P95: value(52 + 9*wave), P99: value(96 + 24*math.Abs(wave)), Received: value(38_000 + 9_000*wave), Sent: value(310_000 + 70_000*wave), TCP: value(0),
		})
	}
	return h
}
