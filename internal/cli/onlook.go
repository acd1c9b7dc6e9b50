package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/internal/local/controller"
)

// look is what all proxies of a mesh had counted when they were asked.
type look struct {
	at      time.Time
	all     []controller.PodStatus // that run
	pods    []figures.Pod          // the same, as figures want them
	samples figures.Samples
	counted []figures.Delta // by a recorder; nil: the proxies were asked, see since
	from    string          // that recorder
	hosts   []upstream      // of proxies that leave some out, or of all
	limits  []metLimit      // of circuit breakers
	missing []string        // pods that did not answer, and why
}

// look asks all proxies, and those that say that they leave hosts out for which.
func (r reach) look(ctx context.Context) (look, error) {
	all, err := r.list(ctx)
	if err != nil {
		return look{}, err
	}
	out := look{at: time.Now(), all: all, samples: figures.Samples{}}
	var mu sync.Mutex
	err = each(ctx, all, func(asking context.Context, p controller.PodStatus) error {
		sample, hosts, err := r.ask(asking, p)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			out.missing = append(out.missing, fmt.Sprintf("%s/%s: %v", p.Namespace, p.Name, err))
		}
		for _, o := range sample.Overflows {
			out.limits = append(out.limits, metLimit{podName(p), o})
		}
		sample.Overflows = nil // samples are kept for long
		if sample.Flows != nil {
			out.samples[p.Namespace+"/"+p.Name] = sample
		}
		out.hosts = append(out.hosts, hosts...)
		return ctx.Err()
	})
	if err != nil {
		return look{}, err
	}
	known := byAddress(all)
	for i := range out.hosts {
		address, _, _ := net.SplitHostPort(out.hosts[i].address)
		if p, there := known[address]; there {
			out.hosts[i].pod = podName(p)
		}
	}
	slices.Sort(out.missing)
	slices.SortFunc(out.limits, metLimit.compare)
	for _, p := range all {
		out.pods = append(out.pods, out.figuresPod(p))
	}
	if len(out.samples) == 0 && len(out.missing) > 0 {
		err = fmt.Errorf("no proxy answers: %s", figures.Printable(out.missing[0], 500))
	}
	return out, err
}

// figuresPod is a pod as its figures want it.
func (l *look) figuresPod(p controller.PodStatus) figures.Pod {
	out := podOf(p)
	by := map[string]bool{}
	for _, u := range l.hosts {
		if u.state == ejectedState && u.pod == p.Namespace+"/"+p.Name {
			by[u.by.Namespace+"/"+u.by.Name] = true
		}
	}
	out.Ejected = len(by)
	return out
}

func podOf(p controller.PodStatus) figures.Pod {
	return figures.Pod{Namespace: p.Namespace, Name: p.Name, Workload: p.Workload, Proxy: p.Synced != "", Gateway: p.Synced != "" && !p.Sidecar && !p.Proxyless}
}

// ask asks one proxy. An error may come with a sample of what could be read.
func (r reach) ask(ctx context.Context, p controller.PodStatus) (figures.Sample, []upstream, error) {
	text, err := r.get(ctx, p, agentPort, "stats/prometheus?"+figures.Query)
	if err != nil {
		return figures.Sample{}, nil, err
	}
	sample, err := figures.Read(bytes.NewReader(text), podOf(p), time.Now())
	sample.Partial = err != nil
	out := sample.Out
	sample.Out = nil // it explains hosts, and samples are kept for long
	if p.Proxyless || !r.hosts && sample.Ejecting == 0 {
		return sample, nil, err
	}
	text, more := r.get(ctx, p, adminPort, "clusters?format=json")
	if more != nil {
		return sample, nil, errors.Join(err, more)
	}
	hosts, more := upstreams(text, p)
	explain(hosts, out)
	return sample, hosts, errors.Join(err, more)
}

// since is what each proxy counted since the first of earlier looks, oldest
// first, that it answered.
func (l look) since(earlier ...look) []figures.Delta {
	if l.counted != nil {
		return l.counted
	}
	before := make([]figures.Samples, len(earlier))
	for i, e := range earlier {
		before[i] = e.samples
	}
	return l.samples.Since(before...)
}

// unanswered says which pods are not counted.
func (a *app) unanswered(l look) {
	if n := len(l.missing); n > 0 {
		fmt.Fprintf(a.err, "%d %s not counted: %s\n", n, plural(n, "pod"), figures.Printable(strings.Join(l.missing, "; "), 500))
	}
}
