package pilot

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/xds"
)

// Limits of the monitoring ports, which are open to the pod network.
const (
	httpTimeout    = 10 * time.Second
	httpHeaderSize = 16 << 10
)

func serveHTTP(ctx context.Context, h http.Handler, lis net.Listener) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: httpTimeout, ReadTimeout: httpTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: httpHeaderSize}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(newLimited(lis, 256)); err != nil && ctx.Err() == nil {
		return fmt.Errorf("pilot: serve HTTP at %s: %w", lis.Addr(), err)
	}
	return nil
}

// readiness answers /ready.
func (p *pilot) readiness() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if err := p.ready(); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ready")
	})
	return mux
}

// monitoring answers everything of the monitoring port.
func (p *pilot) monitoring() *http.ServeMux {
	registerInfo(p.Metrics, p.Version)
	mux := p.readiness()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.Metrics, promhttp.HandlerOpts{Registry: p.Metrics, MaxRequestsInFlight: 8}))
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, p.Version) })
	pages := map[string]func(*http.Request) (any, error){
		"/debug/syncz":       func(*http.Request) (any, error) { return syncz(p.xds.Streams()), nil },
		"/debug/sync":        func(*http.Request) (any, error) { return p.sync(), nil },
		"/debug/nacks":       func(*http.Request) (any, error) { return p.xds.Nacks(), nil },
		"/debug/registryz":   func(*http.Request) (any, error) { return p.registryz(), nil },
		"/debug/config_dump": p.configDump,
	}
	for path, page := range pages {
		mux.Handle("GET "+path, loopbackOnly(jsonPage(page)))
	}
	mux.Handle("GET /debug/pprof/", loopbackOnly(http.HandlerFunc(pprof.Index)))
	mux.Handle("GET /debug/pprof/profile", loopbackOnly(http.HandlerFunc(pprof.Profile)))
	return mux
}

// loopbackOnly lets through callers from this machine, as a port-forward
// arrives: the pages show the whole mesh.
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		addr, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !addr.Addr().Unmap().IsLoopback() {
			http.Error(w, "debug pages are served to loopback callers only: use a port-forward", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func jsonPage(page func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := page(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(v)
	})
}

// syncStatus is one proxy as Istio's /debug/syncz shows it and Kiali reads it:
// a type is in sync if sent equals acked and is not empty.
type syncStatus struct {
	ClusterID     string `json:"cluster_id"`
	Proxy         string `json:"proxy"` // POD.NAMESPACE
	ProxyType     string `json:"proxy_type"`
	ClusterSent   string `json:"cluster_sent,omitempty"`
	ClusterAcked  string `json:"cluster_acked,omitempty"`
	ListenerSent  string `json:"listener_sent,omitempty"`
	ListenerAcked string `json:"listener_acked,omitempty"`
	RouteSent     string `json:"route_sent,omitempty"`
	RouteAcked    string `json:"route_acked,omitempty"`
	EndpointSent  string `json:"endpoint_sent,omitempty"`
	EndpointAcked string `json:"endpoint_acked,omitempty"`
}

// syncz lists the streams that carry clusters: an agent's own stream, for DNS,
// is not a proxy.
func syncz(streams []xds.StreamState) []syncStatus {
	out := []syncStatus{}
	for _, st := range streams {
		s := syncStatus{ClusterID: st.Proxy.ClusterID, Proxy: st.Proxy.Name + "." + st.Proxy.Namespace, ProxyType: "sidecar"}
		if s.ClusterID == "" {
			s.ClusterID = "Kubernetes"
		}
		if !st.Proxy.Sidecar {
			s.ProxyType = "router"
		}
		fields := map[string][2]*string{
			snapshot.Cluster: {&s.ClusterSent, &s.ClusterAcked}, snapshot.Listener: {&s.ListenerSent, &s.ListenerAcked},
			snapshot.Route: {&s.RouteSent, &s.RouteAcked}, snapshot.Endpoint: {&s.EndpointSent, &s.EndpointAcked},
		}
		for _, t := range st.Types {
			if f, ok := fields[t.Type]; ok {
				*f[0] = t.Sent
				if t.Synced {
					*f[1] = t.Sent
				}
			}
		}
		if s.ClusterSent != "" {
			out = append(out, s)
		}
	}
	return out
}

// Sync is the page /debug/sync: what is in force where, and what is not.
type Sync struct {
	// Generation is the annotation weft.mesh/generation of the ConfigMap
	// weft-system/weft-state, of the state that was last published: who writes
	// the state folder knows by it that the streams below have seen it.
	Generation string `json:"generation,omitempty"`

	Streams  []xds.StreamState `json:"streams"`
	Nacks    []xds.Nack        `json:"nacks"`
	Objects  []xds.Live        `json:"objects"`
	Findings []diag.Diagnostic `json:"findings"`
}

func (p *pilot) sync() Sync {
	// Before the streams: they may be ahead of it, never behind.
	generation, _ := p.engine.published.Load().(string)
	s := Sync{Generation: generation, Streams: p.xds.Streams(), Nacks: p.xds.Nacks(), Objects: p.xds.LiveObjects()}
	if out := p.engine.outcome.Load(); out != nil {
		s.Findings = findings(out.state.Findings, out.result)
	}
	return s
}

// registryService is one service of /debug/registryz.
type registryService struct {
	*model.Service
	Endpoints []model.PortEndpoints
}

func (p *pilot) registryz() []registryService {
	list := []registryService{}
	out := p.engine.outcome.Load()
	if out == nil {
		return list
	}
	for host, svc := range out.result.Mesh.Services.All() {
		entry := registryService{Service: svc}
		if eps, ok := out.result.Mesh.Endpoints.Get(host); ok {
			entry.Endpoints = eps.Ports
		}
		list = append(list, entry)
	}
	return list
}

// dumped is one resource of /debug/config_dump.
type dumped struct {
	Type    string          `json:"type"`
	Name    string          `json:"name"`
	Version string          `json:"version"`
	Objects []string        `json:"objects,omitempty"`
	Body    json.RawMessage `json:"resource"`
}

// configDump shows what a proxy is to have; ?proxyID= takes POD.NAMESPACE or
// a node id.
func (p *pilot) configDump(r *http.Request) (any, error) {
	id := r.URL.Query().Get("proxyID")
	for _, st := range p.xds.Streams() {
		if id != st.Proxy.ID && id != st.Proxy.Name+"."+st.Proxy.Namespace {
			continue
		}
		list := []dumped{}
		for _, res := range p.xds.Dump(st.ID) {
			list = append(list, dumped{Type: res.Type, Name: res.Name, Version: res.Version, Objects: res.Sources, Body: xds.JSON(res)})
		}
		return map[string]any{"proxy": st.Proxy, "resources": list}, nil
	}
	return nil, fmt.Errorf("no proxy %q is connected; give ?proxyID=POD.NAMESPACE", id)
}
