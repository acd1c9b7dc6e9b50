package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/dashboard"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/local/controller"
	"github.com/weftmesh/weft/pilot"
)

// shownMesh is a mesh as the dashboard asks for it.
type shownMesh struct {
	app   *app
	from  *configuration
	named dashboard.Mesh

	mu  sync.Mutex
	set config.Set // as it was read last
}

// shown finds the mesh, and asks once, so that who cannot reach it hears it at
// once. From then on it is that mesh, whatever else is started or chosen.
func (a *app) shown(ctx context.Context, w *configuration) (*shownMesh, error) {
	cluster, err := a.inCluster(&w.kube)
	if err != nil {
		return nil, err
	}
	pinned := *a
	m := &shownMesh{app: &pinned, from: w, named: dashboard.Mesh{Name: w.kube.name(), Local: !cluster}}
	if cluster {
		w.kube.pin()
		pinned.name = noMesh
	} else {
		mesh, err := a.connect()
		if err != nil {
			return nil, err
		}
		st, err := status(ctx, mesh)
		if err != nil {
			return nil, err
		}
		m.named.Name, pinned.name = st.Name, st.Name
	}
	r, err := m.app.reach(&w.kube, "")
	if err != nil {
		return nil, err
	}
	_, err = r.list(ctx)
	return m, err
}

// look asks all proxies. The way to them is looked for each time: a local mesh
// that is started again has another socket.
func (m *shownMesh) look(ctx context.Context) (dashboard.Look, error) {
	r, err := m.app.reach(&m.from.kube, "")
	if err != nil {
		return dashboard.Look{}, err
	}
	l, err := r.look(ctx)
	if err != nil {
		return dashboard.Look{}, err
	}
	out := dashboard.Look{At: time.Now(), Pods: l.pods, Samples: l.samples, Missing: l.missing}
	for _, p := range l.all {
		out.Inventory = append(out.Inventory, shownPod(p))
	}
	for _, e := range endpointsOf(l.hosts, "", "") {
		if len(e.Eject) == 0 {
			continue
		}
		one := dashboard.Ejection{Service: e.Service, Port: e.Port, Subset: e.Subset, Pod: e.Pod, Address: e.Address}
		for _, by := range e.Eject {
			one.By = append(one.By, dashboard.Ejector(by))
		}
		out.Ejected = append(out.Ejected, one)
	}
	workloads := map[string]string{}
	for _, p := range l.all {
		workloads[podName(p)] = p.Workload
	}
	for _, o := range overflowsOf(l.limits, "", "") {
		out.Overflows = append(out.Overflows, dashboard.Overflow{
			Service: o.Service, Port: o.Port, Subset: o.Subset, Caller: o.Caller, Workload: workloads[o.Caller], Limit: o.Limit, Allowed: o.Allowed,
			Times: o.Times, Since: o.Since, Field: o.Field,
		})
	}
	return out, nil
}

func shownPod(p controller.PodStatus) dashboard.Pod {
	app, version := controller.Canonical(p.Labels, p.Workload)
	out := dashboard.Pod{
		Namespace: p.Namespace, Name: p.Name, Workload: p.Workload, Address: p.IP, Synced: p.Synced,
		Ready: p.Ready, Phase: p.Phase, Restarts: p.Restarts, Age: p.Age,
		App: app, Version: version, Control: p.Synced == "" && p.Labels["app.kubernetes.io/part-of"] == "weft",
	}
	switch {
	case p.Proxyless:
		out.Proxy = "proxyless"
	case p.Sidecar && p.Synced != "":
		out.Proxy = "sidecar"
	case p.Synced != "":
		out.Proxy = "gateway"
	}
	return out
}

// config reads the objects, and asks the pilots what holds of them.
func (m *shownMesh) config(ctx context.Context) (dashboard.Config, error) {
	set, err := m.app.setOf(ctx, m.from)
	if err != nil {
		return dashboard.Config{}, err
	}
	m.mu.Lock()
	m.set = set
	m.mu.Unlock()
	pilots, err := m.app.pilots(ctx, &m.from.kube)
	out := dashboard.Config{Objects: objectsIn(set, pilots), Splits: splitsIn(set)}
	if err != nil { // what the objects say is known all the same
		out.Failed = "what is in force is not known: " + err.Error()
	}
	return out, nil
}

// pilots are the pages /debug/sync of all replicas.
func (a *app) pilots(ctx context.Context, k *kube) (out []pilot.Sync, err error) {
	pages, err := a.pilotPages(ctx, k, "/debug/sync")
	if err != nil {
		return nil, err
	}
	for _, p := range pages {
		var s pilot.Sync
		if err := json.Unmarshal(p.text, &s); err != nil {
			return nil, fmt.Errorf("pilot %s: %w", p.pilot, err)
		}
		out = append(out, s)
	}
	return out, nil
}

// objectsIn are the objects of Istio's API, with what the pilots say of them.
func objectsIn(set config.Set, pilots []pilot.Sync) (out []dashboard.Object) {
	live, refused := map[string][2]int{}, map[string]bool{}
	found := map[diag.Object][]diag.Diagnostic{}
	for i, p := range pilots {
		for _, o := range p.Objects {
			n := live[o.Object]
			live[o.Object] = [2]int{n[0] + o.Live, n[1] + o.Proxies}
		}
		for _, n := range p.Nacks {
			for _, o := range n.Objects {
				refused[o] = true
			}
		}
		for _, f := range p.Findings {
			if i == 0 { // the others say the same
				of := diag.Object{Kind: f.Object.Kind, Namespace: f.Object.Namespace, Name: f.Object.Name}
				found[of] = append(found[of], f)
			}
		}
	}
	for _, kind := range config.IstioKinds() {
		for _, o := range set.Of(kind).All() {
			ref := diag.Object{Kind: string(kind), Namespace: o.Namespace, Name: o.Name}
			out = append(out, objectOf(ref, live[ref.Kind+"/"+o.Key()], refused[ref.Kind+"/"+o.Key()], found[ref]))
		}
	}
	return out
}

func objectOf(ref diag.Object, live [2]int, refused bool, found []diag.Diagnostic) dashboard.Object {
	wrong := slices.ContainsFunc(found, func(d diag.Diagnostic) bool { return d.Severity == diag.Error })
	out := dashboard.Object{
		Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name, Accepted: !wrong, Programmed: "live",
		Live: live[0], Proxies: live[1], Findings: append([]diag.Diagnostic{}, found...),
	}
	switch {
	case out.Proxies == 0:
		out.Programmed = "none"
	case out.Live < out.Proxies && refused: // one that was mended is remembered, too
		out.Programmed = "refused"
	case out.Live < out.Proxies:
		out.Programmed = "pending"
	}
	return out
}

func splitsIn(set config.Set) (out []dashboard.Split) {
	for _, s := range pilot.Splits(set) {
		split := dashboard.Split{Namespace: s.Namespace, Name: s.Name, Hosts: s.Hosts, Gateways: s.Gateways, Protocol: s.Protocol, Route: s.Route}
		for _, d := range s.Destinations {
			d.Workloads = append([]string{}, d.Workloads...) // never null
			split.Destinations = append(split.Destinations, dashboard.Destination(d))
		}
		out = append(out, split)
	}
	return out
}

// object is one of those that were read last, as YAML.
func (m *shownMesh) object(_ context.Context, kind, namespace, name string) ([]byte, bool, error) {
	m.mu.Lock()
	set := m.set
	m.mu.Unlock()
	if !slices.Contains(config.IstioKinds(), config.Kind(kind)) { // Secrets are not for pages
		return nil, false, nil
	}
	o, ok := set.Of(config.Kind(kind)).Get(namespace + "/" + name)
	if !ok {
		return nil, false, nil
	}
	text, err := config.Encode(o)
	return text, true, err
}
