package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/pod"
	"github.com/weftmesh/weft/internal/stream"
)

// Status is what the mesh tells the CLI: GET /v1/status.
type Status struct {
	Name string     `json:"name"`
	Dir  string     `json:"dir"`
	Mode local.Mode `json:"mode"`
	// Ready: every pod that is wanted is ready and in sync.
	Ready bool        `json:"ready"`
	Pods  []PodStatus `json:"pods"`
	// Published are gateway ports by their address on the host.
	Published map[uint32]string `json:"published,omitempty"`
	Troubles
}

// Troubles are what is wrong with what the folder says: part of Status, and
// alone GET /v1/troubles, which costs one question to the pilot and none to
// the proxies, for a client that asks again and again.
type Troubles struct {
	// Problems are Deployments ("NAMESPACE/NAME") that cannot run, and why.
	Problems map[string]string `json:"problems,omitempty"`
	// Unpublished are gateway ports that could not be opened on the host, and
	// why.
	Unpublished map[uint32]string `json:"unpublished,omitempty"`
	// Findings are about the folder's objects.
	Findings []diag.Diagnostic `json:"findings,omitempty"`
}

// PodStatus is one pod.
type PodStatus struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Workload  string `json:"workload"`
	IP        string `json:"ip"`
	// HostNetwork: in a cluster, IP is the node's.
	HostNetwork bool `json:"hostNetwork,omitempty"`
	// Main is the process whose log is meant when none is named.
	Main    string            `json:"main"`
	Labels  map[string]string `json:"labels,omitempty"`
	Sidecar bool              `json:"sidecar"`
	// Machine: weft workload run started it, no Deployment.
	Machine bool `json:"machine,omitempty"`
	// Proxyless: an agent without Envoy serves the pod's gRPC libraries.
	Proxyless bool `json:"proxyless,omitempty"`
	Ready     bool `json:"ready"`
	// Containers ready and in all, the proxy among them.
	ReadyContainers int           `json:"readyContainers"`
	Containers      int           `json:"containers"`
	Phase           string        `json:"phase"` // Running, Starting, Failing, Terminating
	Reason          string        `json:"reason,omitempty"`
	Restarts        int           `json:"restarts"`
	Age             time.Duration `json:"ageNanoseconds"`
	// Synced: the proxy has acknowledged everything it was sent; empty for
	// pods without a proxy, and for proxyless ones that have not asked for
	// anything, else "yes" or "no".
	Synced string `json:"synced,omitempty"`
	// Ejected are the hosts that this pod's proxy has ejected as outliers.
	Ejected []Ejected `json:"ejected,omitempty"`
}

// Ejected is one endpoint that a proxy leaves out.
type Ejected struct {
	Cluster string `json:"cluster"`
	Address string `json:"address"`
	Pod     string `json:"pod,omitempty"`
}

// routes registers the API. It is reached over the mesh's own socket, which
// serves the same user only.
func (c *Controller) routes() {
	c.mesh.Handle("GET /v1/status", http.HandlerFunc(c.serveStatus))
	c.mesh.Handle("GET /v1/troubles", http.HandlerFunc(c.serveTroubles))
	c.mesh.Handle("POST /v1/stop", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		c.mesh.Stop()
	}))
	c.mesh.Handle("POST /v1/machines", http.HandlerFunc(c.serveMachine))
	c.mesh.Handle("GET /v1/pods/{namespace}/{name}/envoy/{path...}", http.HandlerFunc(c.serveEnvoy))
	c.mesh.Handle("GET /v1/pods/{namespace}/{name}/agent/{path...}", http.HandlerFunc(c.serveAgent))
	c.mesh.Handle("GET /v1/pilot/{path...}", http.HandlerFunc(c.servePilot))
	c.mesh.Handle("/v1/ca/rotation", http.HandlerFunc(c.serveRotation))
}

func (c *Controller) serveStatus(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(c.status(ctx)) // a client that is gone needs no answer
}

// serveTroubles fails while the pilot does not answer: what it knows would
// seem to be mended.
func (c *Controller) serveTroubles(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	pilot := c.askPilot(ctx, 0)
	if !pilot.known {
		http.Error(w, "the pilot does not answer", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(c.troubles(pilot)) // a client that is gone needs no answer
}

func (c *Controller) troubles(pilot pilotState) Troubles {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := Troubles{Problems: maps.Clone(c.problem), Unpublished: maps.Clone(c.unpublished), Findings: slices.Clone(c.found)}
	if pilot.known {
		t.Findings = pilot.findings
	}
	return t
}

func (c *Controller) status(ctx context.Context) Status {
	st := Status{Name: c.mesh.Name(), Dir: c.options.Dir, Mode: c.mesh.Mode(), Published: map[uint32]string{}}
	c.mu.Lock()
	wanted, known := 0, c.wanted != nil
	for _, w := range c.wanted {
		wanted += w.replicas
	}
	for port, host := range c.published {
		st.Published[port] = host
	}
	told := c.told // before the pods and the pilot: what they say may be newer, never older
	c.mu.Unlock()
	pilot := c.askPilot(ctx, told.generation)
	st.Troubles = c.troubles(pilot)
	st.Pods = c.podStatuses(ctx, pilot, told.ready)
	ready := 0
	for _, p := range st.Pods {
		if !p.Machine && p.Ready && p.Synced != "no" && p.Phase == "Running" && p.Namespace+"/"+p.Workload != SystemNamespace+"/"+pilotName && p.Workload != caName {
			ready++
		}
	}
	st.Ready = known && len(st.Problems) == 0 && ready == wanted
	return st
}

// podStatuses calls a pod ready when the mesh has been told so: whoever acts on
// it sends calls there.
func (c *Controller) podStatuses(ctx context.Context, pilot pilotState, told map[string]bool) []PodStatus {
	all := c.all()
	byIP := map[string]string{}
	for _, r := range all {
		byIP[r.spec.Status.PodIP] = r.spec.Name
	}
	out := make([]PodStatus, 0, len(all))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, r := range all {
		wg.Go(func() {
			p := r.status(told)
			if r.hasProxy() {
				p.Synced = pilot.verdict(p)
			}
			if r.hasProxy() && !p.Proxyless {
				p.Ejected = r.ejected(ctx, byIP)
			}
			mu.Lock()
			defer mu.Unlock()
			out = append(out, p)
		})
	}
	wg.Wait()
	slices.SortFunc(out, func(a, b PodStatus) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return out
}

func (r *runner) status(told map[string]bool) PodStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	ready := r.isReady() && (r.role == roleControl || told[r.spec.Namespace+"/"+r.spec.Name])
	p := PodStatus{
		Namespace: r.spec.Namespace, Name: r.spec.Name, Workload: workloadName(r.spec), IP: r.spec.Status.PodIP, Labels: r.spec.Labels,
		Sidecar: hasSidecar(r.spec), Proxyless: isProxyless(r.spec), Machine: r.role == roleMachine, Ready: ready,
		Containers: len(r.spec.Spec.Containers), Age: time.Since(r.born), Phase: "Running", Reason: r.reason,
	}
	p.Main = proxyProcess
	if len(r.apps()) > 0 {
		p.Main = r.spec.Spec.Containers[0].Name
	}
	if r.hasProxy() {
		p.Containers++
	}
	for _, ok := range r.ready {
		if ok {
			p.ReadyContainers++
		}
	}
	if r.pod != nil {
		for _, s := range r.pod.Statuses() {
			p.Restarts += s.Restarts
		}
	}
	switch {
	case r.terminating:
		p.Phase = "Terminating"
	case p.Ready:
		p.Reason = ""
	case p.Restarts > 0:
		p.Phase = "Failing"
	default:
		p.Phase = "Starting"
	}
	return p
}

// running returns a runner's pod, or nil.
func (r *runner) running() *pod.Pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return nil
	}
	return r.pod
}

// get reads an URL within a pod, at most limit bytes.
func (r *runner) get(ctx context.Context, url string) ([]byte, error) {
	resp, err := r.open(ctx, url)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return text, err
}

// open asks a pod for a page, whose body the caller closes.
func (r *runner) open(ctx context.Context, url string) (*http.Response, error) {
	p := r.running()
	if p == nil {
		return nil, fmt.Errorf("pod %s is not running", r.spec.Name)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return clientOf(p).Do(req)
}

// clientOf makes requests from within a pod.
func clientOf(p *pod.Pod) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: p.DialContext, DisableKeepAlives: true}}
}

// maxAnswer bounds what is read from a pod: a configuration dump of thousands
// of clusters.
const maxAnswer = 256 << 20

// ejected are the hosts that outlier detection keeps out, as the pod's Envoy
// sees them.
func (r *runner) ejected(ctx context.Context, byIP map[string]string) (out []Ejected) {
	text, err := r.get(ctx, "http://127.0.0.1:15000/clusters?format=json")
	if err != nil {
		return nil
	}
	var clusters struct {
		Statuses []struct {
			Name  string `json:"name"`
			Hosts []struct {
				Address struct {
					Socket struct {
						Address string `json:"address"`
						Port    int    `json:"port_value"`
					} `json:"socket_address"`
				} `json:"address"`
				Health struct {
					Outlier bool `json:"failed_outlier_check"`
				} `json:"health_status"`
			} `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if json.Unmarshal(text, &clusters) != nil {
		return nil
	}
	for _, c := range clusters.Statuses {
		for _, h := range c.Hosts {
			if h.Health.Outlier {
				s := h.Address.Socket
				out = append(out, Ejected{Cluster: c.Name, Address: fmt.Sprintf("%s:%d", s.Address, s.Port), Pod: byIP[s.Address]})
			}
		}
	}
	return out
}

// pilotState is what the pilot says of the mesh.
type pilotState struct {
	known    bool
	synced   map[string]bool // by "NAMESPACE/POD": it has acknowledged the newest state
	findings []diag.Diagnostic
}

// askPilot reads the pilot's state. A proxy is in sync when the pilot has
// published the generation that was written and the proxy has acknowledged it.
func (c *Controller) askPilot(ctx context.Context, written int64) (out pilotState) {
	out.synced = map[string]bool{}
	pilot := c.runner(SystemNamespace + "/" + pilotName)
	if pilot == nil {
		return out
	}
	text, err := pilot.get(ctx, "http://127.0.0.1:15014/debug/sync")
	if err != nil {
		return out
	}
	var sync struct {
		Generation string            `json:"generation"`
		Findings   []diag.Diagnostic `json:"findings"`
		Streams    []struct {
			Proxy struct {
				Name, Namespace string
				Proxyless       bool
			} `json:"proxy"`
			Types []struct {
				Type   string `json:"type"`
				Synced bool   `json:"synced"`
			} `json:"types"`
		} `json:"streams"`
	}
	if json.Unmarshal(text, &sync) != nil {
		return out
	}
	out.known, out.findings = true, sync.Findings
	published, _ := strconv.ParseInt(sync.Generation, 10, 64)
	for _, s := range sync.Streams {
		ok, proxy := published >= written, false
		for _, t := range s.Types {
			ok = ok && t.Synced
			proxy = proxy || strings.HasSuffix(t.Type, ".Listener")
		}
		if proxy { // not an agent's own stream, for names
			// A proxyless process has several.
			key := s.Proxy.Namespace + "/" + s.Proxy.Name
			before, known := out.synced[key]
			out.synced[key] = ok && (before || !known || !s.Proxy.Proxyless)
		}
	}
	return out
}

// verdict is whether a pod's proxy has acknowledged everything; "" for a
// proxyless pod that has not asked for anything.
func (s pilotState) verdict(p PodStatus) string {
	synced, known := s.synced[p.Namespace+"/"+p.Name]
	switch {
	case synced:
		return "yes"
	case p.Proxyless && !known:
		return ""
	}
	return "no"
}

func (c *Controller) runner(key string) *runner {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.runners[key]
}

// serveEnvoy passes a read of a pod's Envoy administration on, serveAgent one
// of its agent.
func (c *Controller) serveEnvoy(w http.ResponseWriter, req *http.Request) { c.passTo(w, req, 15000) }
func (c *Controller) serveAgent(w http.ResponseWriter, req *http.Request) { c.passTo(w, req, 15020) }

func (c *Controller) passTo(w http.ResponseWriter, req *http.Request, port uint16) {
	r := c.runner(req.PathValue("namespace") + "/" + req.PathValue("name"))
	if r == nil || !r.hasProxy() {
		http.Error(w, "no such pod with a proxy", http.StatusNotFound)
		return
	}
	pass(w, req, r, fmt.Sprintf("http://127.0.0.1:%d/%s", port, req.PathValue("path")))
}

// servePilot passes a read of the pilot's debug interface on.
func (c *Controller) servePilot(w http.ResponseWriter, req *http.Request) {
	r := c.runner(SystemNamespace + "/" + pilotName)
	if r == nil {
		http.Error(w, "the pilot is not running", http.StatusServiceUnavailable)
		return
	}
	pass(w, req, r, "http://127.0.0.1:15014/"+req.PathValue("path"))
}

// pass passes on as it comes, for a page may have no end.
func pass(w http.ResponseWriter, req *http.Request, r *runner, url string) {
	if req.URL.RawQuery != "" {
		url += "?" + req.URL.RawQuery
	}
	resp, err := r.open(req.Context(), url)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // the status says enough
		http.Error(w, fmt.Sprintf("%s: %s: %s", url, resp.Status, bytes.TrimSpace(text)), resp.StatusCode)
		return
	}
	if out := stream.To(w); out.Begin() == nil { // that the page begins is said before it has anything
		_, _ = io.Copy(out, resp.Body) // a client that is gone needs no answer
	}
}
