package traffic

import (
	"encoding/json"
	"fmt"
	"strings"
)

// What the weft program writes with -o json, as far as it is read here.
type (
	counts struct {
		Requests, Failed float64
		RequestRate      *float64 `json:"requestsPerSecond"`
		MutualTLS        *float64
	}
	row struct {
		Namespace, Name, By string
		counts
	}
	node struct{ Namespace, Workload, Identity string }
	edge struct {
		From, To node
		By       string
		counts
	}
	endpoint struct {
		Service, Port, Subset, Pod, Address string
		Proxies                             int
	}
	breach struct {
		Port uint32
		Kind string
		Seen *struct {
			Address, Wire string
			Calls         uint64
		}
	}
	seen struct {
		Rows       []row
		Edges      []edge
		Endpoints  []endpoint
		Unanswered []string
		Workloads  []struct {
			Namespace, Name string
			Breaks          []breach
		}
	}
)

// told is what the weft program says, with an exit code that may be wanted; no
// proxy may have been left out.
func (b *bench) told(code int, args ...string) (out seen, err error) {
	said := b.Weft("", append(args, "-o", "json")...)
	if said.Code != code {
		return out, fmt.Errorf("weft %s, want exit code %d: %v", strings.Join(args, " "), code, said)
	}
	if err := json.Unmarshal([]byte(said.Out), &out); err != nil {
		return out, fmt.Errorf("weft %s: %w: %s", strings.Join(args, " "), err, said.Out)
	}
	if len(out.Unanswered) > 0 {
		err = fmt.Errorf("weft %s: no answer of %v", strings.Join(args, " "), out.Unanswered)
	}
	return out, err
}

// figures: what weft says of calls is what was called. It asks the proxies of
// both nodes by the API server, and no Prometheus.
func (b *bench) figures() {
	b.part("stat", false, (*bench).statCounts)
	b.part("edges", false, (*bench).edgesKnow)
	b.part("endpoints", false, (*bench).endpointsListed)
	b.part("mtls status", false, (*bench).mtlsSees)
	b.part("tap", false, (*bench).tapShows)
	b.part("failures", false, (*bench).failuresCounted)
}

// counted is a row of weft stat since the proxies' start.
func (b *bench) counted(kind, namespace, name string) (row, error) {
	got, err := b.told(0, "stat", kind, "--window", "0", "-n", namespace)
	if err != nil {
		return row{}, err
	}
	for _, r := range got.Rows {
		if r.Namespace == namespace && r.Name == name {
			return r, nil
		}
	}
	return row{}, fmt.Errorf("weft stat %s: no row %s/%s in %+v", kind, namespace, name, got.Rows)
}

// statCounts: every request is counted, once, by the gateway that sent it and
// by the server that took it.
func (b *bench) statCounts() {
	const pages = 60
	rows := map[string][3]string{ // who counts it
		"gateway": {"workloads", "weft-system", "istio-ingressgateway"}, "server": {"workloads", "shop", "frontend"}, "": {"services", "shop", "frontend"},
	}
	before := map[string]float64{}
	for by, r := range rows {
		b.Eventually("weft stat knows "+r[2], func() error {
			found, err := b.counted(r[0], r[1], r[2])
			before[by] = found.Requests
			return err
		})
	}
	b.well("pages", b.door(pages, request{path: "/"}))
	for by, r := range rows {
		b.Eventually(fmt.Sprintf("weft stat %s counts the requests of %s", r[0], r[2]), func() error {
			found, err := b.counted(r[0], r[1], r[2])
			n := found.Requests - before[by]
			once := n == pages
			if by == "server" { // a retry of the gateway is one more
				once = pages <= n && n < 2*pages
			}
			if err == nil && (!once || found.By != by) {
				err = fmt.Errorf("%v more, by %q, want %d by %q", n, found.By, pages, by)
			}
			if err == nil && by != "gateway" && (found.MutualTLS == nil || *found.MutualTLS != 1) {
				err = fmt.Errorf("not all by mutual TLS: %+v", found)
			}
			return err
		})
	}
	steady := b.knocks(20, request{path: "/"})
	b.Eventually("weft top has a rate", func() error {
		got, err := b.told(0, "top", "pods", "frontend", "-n", "shop", "--once", "--window", "2s")
		if err == nil && (len(got.Rows) != 1 || got.Rows[0].RequestRate == nil || *got.Rows[0].RequestRate == 0) {
			err = fmt.Errorf("rows %+v", got.Rows)
		}
		return err
	})
	steady.stop()
}

// edgesKnow: the server says who called, by their certificates.
func (b *bench) edgesKnow() {
	b.well("calls without a sidecar", b.fromPod("shop", "legacy", "load", "--url", "http://details/", "--requests", "10").wait())
	b.Eventually("weft edges has the page's calls, and those of a pod without a sidecar", func() error {
		got, err := b.told(0, "edges", "-n", "shop")
		if err != nil {
			return err
		}
		want := map[string]float64{ // share by mutual TLS
			identity("weft-system", "istio-ingressgateway") + ">frontend": 1,
			identity("shop", "frontend") + ">details":                     1,
			"unknown>details": 0,
		}
		for _, e := range got.Edges {
			share, is := want[e.From.Identity+">"+e.To.Workload]
			if is && e.By == "server" && e.To.Identity == identity("shop", e.To.Workload) && e.Requests >= 10 && e.MutualTLS != nil && *e.MutualTLS == share {
				delete(want, e.From.Identity+">"+e.To.Workload)
			}
		}
		if len(want) > 0 {
			return fmt.Errorf("no %v in %+v", want, got.Edges)
		}
		return nil
	})
}

// endpointsListed: the hosts of a service are its pods, each known to proxies of
// both nodes.
func (b *bench) endpointsListed() {
	pods := b.pods("shop", "app=reviews")
	b.Eventually("weft endpoints lists the pods of reviews", func() error {
		got, err := b.told(0, "endpoints", "reviews.shop", "-n", "shop")
		if err != nil {
			return err
		}
		found := map[string]bool{}
		for _, e := range got.Endpoints {
			pod, is := pods[strings.TrimPrefix(e.Pod, "shop/")]
			if !is || !strings.HasPrefix(e.Address, pod.Status.PodIP+":") || e.Port != "80" || e.Proxies < 2 {
				return fmt.Errorf("no pod of reviews, or few know it: %+v of %v", e, names(pods))
			}
			if e.Subset == "" {
				found[pod.Name] = true
			}
		}
		if len(found) != len(pods) {
			return fmt.Errorf("pods %v, want %v", found, names(pods))
		}
		return nil
	})
}

// mtlsSees: whom STRICT would refuse is the pod that called in plaintext.
func (b *bench) mtlsSees() {
	legacy := b.pods("shop", "app=legacy")
	b.Eventually("weft mtls status has seen the pod without a sidecar", func() error {
		got, err := b.told(3, "mtls", "status", "-n", "shop")
		if err != nil {
			return err
		}
		for _, w := range got.Workloads {
			for _, breach := range w.Breaks {
				if s := breach.Seen; w.Name == "details" && breach.Kind == "caller" && s != nil && s.Calls >= 10 && s.Wire == "plaintext" && s.Address == legacy[names(legacy)[0]].Status.PodIP {
					return nil
				}
			}
		}
		return fmt.Errorf("it is not in %+v", got.Workloads)
	})
}
