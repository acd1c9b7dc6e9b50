package pilot

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/fair"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/snapshot"
	"github.com/weftmesh/weft/pilot/internal/xds"
)

// Limits of the monitoring ports, which are open to the pod network.
const (
	httpTimeout    = 10 * time.Second
	httpHeaderSize = 16 << 10
)

// maxHTTP bounds the connections of a monitoring port.
const maxHTTP = 256

func serveHTTP(ctx context.Context, h http.Handler, lis net.Listener) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: httpTimeout, ReadTimeout: httpTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: httpHeaderSize}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(lis); err != nil && ctx.Err() == nil {
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

// serveMonitoring serves the monitoring port: plaintext, and TLS to workloads
// of the mesh, which may so see the debug pages of their own namespace.
func (p *pilot) serveMonitoring(ctx context.Context, lis net.Listener) error {
	var config *tls.Config
	if p.Identity != nil {
		config = p.Identity.ServerTLS(enroll.AllowTrustDomain(p.TrustDomain))
		config.NextProtos = []string{"http/1.1"}
	}
	refused := refusals(p.Metrics)
	return serveHTTP(ctx, p.monitoring(refused), newSniffing(fair.Listener(lis, maxHTTP), config, refused, p.Log))
}

// monitoring answers everything of the monitoring port. refused counts
// requests for debug pages without a right to them.
func (p *pilot) monitoring(refused func(string)) *http.ServeMux {
	registerInfo(p.Metrics, p.Version)
	mux := p.readiness()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.Metrics, promhttp.HandlerOpts{Registry: p.Metrics, MaxRequestsInFlight: 8}))
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, p.Version) })
	pages := map[string]page{
		"/debug/syncz":       func(_ *http.Request, c caller) (any, error) { return syncz(c.streams(p.xds.Streams())), nil },
		"/debug/sync":        func(_ *http.Request, c caller) (any, error) { return p.sync(c), nil },
		"/debug/nacks":       func(_ *http.Request, c caller) (any, error) { return c.nacks(p.xds.Nacks()), nil },
		"/debug/registryz":   func(_ *http.Request, c caller) (any, error) { return p.registryz(c), nil },
		"/debug/config_dump": p.configDump,
	}
	door := door{refused: refused, log: p.Log}
	for path, page := range pages {
		mux.Handle("GET "+path, door.open(jsonPage(page)))
	}
	mux.Handle("GET /debug/live", p.peerPage())
	mux.Handle("GET /debug/pprof/", door.open(wholeMesh(pprof.Index)))
	mux.Handle("GET /debug/pprof/profile", door.open(wholeMesh(pprof.Profile)))
	return mux
}

// page gives what a caller may see of a debug page.
type page func(*http.Request, caller) (any, error)

// door lets callers on to debug pages who have a right to them.
type door struct {
	refused func(reason string)
	log     *slog.Logger
}

// open calls next with who asks. An errStranger from it is a refusal, too.
func (d door) open(next func(http.ResponseWriter, *http.Request, caller) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := callerOf(r)
		if err == nil {
			err = next(w, r, who)
		}
		switch {
		case err == nil:
		case errors.Is(err, errStranger):
			d.refused("debug")
			d.log.Warn("a debug page is refused", "page", r.URL.Path, "peer", r.RemoteAddr, "namespace", who.namespace)
			http.Error(w, err.Error(), http.StatusForbidden)
		default:
			http.Error(w, err.Error(), http.StatusNotFound)
		}
	})
}

// wholeMesh is for pages that cannot be shown in part.
func wholeMesh(next http.HandlerFunc) func(http.ResponseWriter, *http.Request, caller) error {
	return func(w http.ResponseWriter, r *http.Request, who caller) error {
		if !who.all {
			return fmt.Errorf("%w; this page is for loopback alone", errStranger)
		}
		next(w, r)
		return nil
	}
}

func jsonPage(of page) func(http.ResponseWriter, *http.Request, caller) error {
	return func(w http.ResponseWriter, r *http.Request, who caller) error {
		v, err := of(r, who)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(v)
		return nil
	}
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
// is not a proxy; and those of processes whose gRPC library speaks xDS, one line
// for each process.
func syncz(streams []xds.StreamState) []syncStatus {
	out := []syncStatus{}
	proxyless := map[string]int{}
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
		switch at, seen := proxyless[s.Proxy]; {
		case !st.Proxy.Proxyless && s.ClusterSent != "":
			out = append(out, s)
		case st.Proxy.Proxyless && seen:
			out[at].join(s)
		case st.Proxy.Proxyless:
			proxyless[s.Proxy] = len(out)
			out = append(out, s)
		}
	}
	return out
}

// join adds another stream of the same process, whose gRPC library opens one for
// each thing that it asks for: a type is in sync where it is on all.
func (s *syncStatus) join(other syncStatus) {
	for _, f := range []struct {
		sent, acked           *string
		otherSent, otherAcked string
	}{
		{&s.ClusterSent, &s.ClusterAcked, other.ClusterSent, other.ClusterAcked}, {&s.ListenerSent, &s.ListenerAcked, other.ListenerSent, other.ListenerAcked},
		{&s.RouteSent, &s.RouteAcked, other.RouteSent, other.RouteAcked}, {&s.EndpointSent, &s.EndpointAcked, other.EndpointSent, other.EndpointAcked},
	} {
		if *f.sent == "" || *f.sent == *f.acked && f.otherSent != "" {
			*f.sent, *f.acked = f.otherSent, f.otherAcked
		}
	}
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

func (p *pilot) sync(c caller) Sync {
	// Before the streams: they may be ahead of it, never behind.
	generation, _ := p.engine.published.Load().(string)
	s := Sync{Generation: generation, Streams: c.streams(p.xds.Streams()), Nacks: c.nacks(p.xds.Nacks()), Objects: c.objects(p.xds.LiveObjects())}
	if out := p.engine.outcome.Load(); out != nil {
		s.Findings = c.findings(findings(out.state.Findings, out.result))
	}
	return s
}

// registryService is one service of /debug/registryz.
type registryService struct {
	*model.Service
	Endpoints []model.PortEndpoints
}

func (p *pilot) registryz(c caller) []registryService {
	list := []registryService{}
	out := p.engine.outcome.Load()
	if out == nil {
		return list
	}
	for host, svc := range out.result.Mesh.Services.All() {
		if !c.sees(svc.Namespace) {
			continue
		}
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
// a node id. A proxy of another namespace is as good as none.
func (p *pilot) configDump(r *http.Request, c caller) (any, error) {
	id := r.URL.Query().Get("proxyID")
	for _, st := range c.streams(p.xds.Streams()) {
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
