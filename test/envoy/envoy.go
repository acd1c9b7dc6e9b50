// Package envoy runs a real Envoy on loopback with the configuration of any
// proxy of a mesh, and replays calls through it.
//
// Purpose: what the translators make must do in Envoy what the simulator says.
// Inputs: xDS resources as a proxy would get them, and simulate.Calls. Output:
// what the client saw and what each endpoint saw. Nothing of the configuration
// is left out: it is fed by a delta ADS server as in production, with virtual
// hosts and secrets on demand. Only addresses change: endpoints become echo
// servers on loopback, one for each cluster and endpoint, and listeners bind
// to free loopback ports, where a PROXY header takes the place of capture, so
// that original destination and source are those of the call.
//
// Besides, it tells how each call ended by Envoy's own word (response flags,
// counts), what the options of Envoy's sockets are, and what came on the
// connections to the endpoints. Linux only: it reads a child's sockets.
//
// It may import Envoy's protos, internal/simulate for its Call, and
// internal/envoybin. It needs no root and no network.
package envoy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// Options say what to run.
type Options struct {
	Binary string // path of the Envoy
	// Resources are what the proxy gets over ADS.
	Resources []*discovery.Resource
	// Identity is the SPIFFE URI in the proxy's own certificate; "" is
	// spiffe://cluster.local/ns/default/sa/default.
	Identity string
	// Keys is a CA that several Proxies share; nil: one of its own.
	Keys *Keys
	// Placed: the resources stay as they are, no address is moved; Place may
	// have done it.
	Placed bool
	// Place is where the proxy says it is, "REGION/ZONE/SUBZONE".
	Place string
	// Nameserver is the DNS server that the proxy asks. With one, clusters of hosts
	// that clients name (dynamic_forward_proxy) stay as they are: no echo server
	// takes the place of what DNS says.
	Nameserver netip.AddrPort
	// Environment is what the proxy's own has beside this process', NAME=VALUE.
	Environment []string
	// LogService: the bootstrap has the cluster of Envoy's access log service, as an
	// agent's has one where its ProxyConfig says so.
	LogService bool
	// Ready is how long the proxy may take to be ready; 0 is 20 s.
	Ready time.Duration
}

// Proxy is a running Envoy with its control plane and its endpoints. Several
// goroutines may call Do at once.
type Proxy struct {
	plan   *plan
	place  string
	logs   int            // port of the access log service; 0: there is none
	names  netip.AddrPort // of the DNS server
	echoes *echoes
	ads    *adsServer
	pki    *pki
	dir    string
	cmd    *exec.Cmd
	exited chan struct{}
	log    *lockedBuffer
	ports  map[string]int // of bound listeners, by name
	calls  atomic.Int64

	mu    sync.Mutex
	shown []byte // the certificate, DER, that the proxy showed last
}

// Start runs an Envoy with opts and waits until it is ready: all clusters and
// listeners warm, nothing refused. An error holds what Envoy said of the
// resource it refused. The caller closes the Proxy.
func Start(ctx context.Context, opts Options) (_ *Proxy, err error) {
	if opts.Ready == 0 {
		opts.Ready = 20 * time.Second
	}
	if opts.Identity == "" {
		opts.Identity = "spiffe://cluster.local/ns/default/sa/default"
	}
	p := &Proxy{place: opts.Place, names: opts.Nameserver, exited: make(chan struct{}), log: &lockedBuffer{}, echoes: newEchoes()}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if p.dir, err = os.MkdirTemp("", "weft-envoy-"); err != nil {
		return nil, err
	}
	if p.pki, err = opts.Keys.pki(opts.Identity); err != nil {
		return nil, err
	}
	p.echoes.pki = p.pki
	if opts.Placed {
		p.plan = &plan{resources: opts.Resources, bound: map[string]boundListener{}}
	} else if p.plan, err = rebase(opts.Resources, p.echoes, p.names.IsValid()); err != nil {
		return nil, err
	}
	if opts.LogService {
		if p.logs, err = p.echoes.listen(ServiceCluster, anyEndpoint); err != nil {
			return nil, err
		}
	}
	if p.ads, err = startADS(filepath.Join(p.dir, "xds"), p.plan.resources, p.pki); err != nil {
		return nil, err
	}
	if err := p.spawn(opts.Binary, opts.Environment); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Ready)
	defer cancel()
	if err := p.waitReady(ctx); err != nil {
		return nil, err
	}
	p.ports, err = p.listening(ctx)
	return p, err
}

// spawn starts the process. It dies with this one, so that no test leaves an
// Envoy behind.
func (p *Proxy) spawn(binary string, environment []string) error {
	config, err := json.Marshal(p.bootstrap())
	if err != nil {
		return err
	}
	p.cmd = exec.Command(binary, "--config-yaml", string(config), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning",
		"--use-dynamic-base-id")
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Env = append(os.Environ(), environment...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.cmd = nil
		return fmt.Errorf("start Envoy: %w", err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	return nil
}

type object = map[string]any

// bootstrap is the agent's in small: the clusters of the control plane and of
// the SDS server are one Unix socket of ours.
func (p *Proxy) bootstrap() object {
	socket := object{"pipe": object{"path": filepath.Join(p.dir, "xds")}}
	grpc := func(name string, at object) object {
		return object{
			"name": name, "type": "STATIC", "connect_timeout": "5s",
			"load_assignment": object{"cluster_name": name, "endpoints": []object{{"lb_endpoints": []object{{"endpoint": object{"address": at}}}}}},
			"typed_extension_protocol_options": object{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": object{
				"@type":                "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
				"explicit_http_config": object{"http2_protocol_options": object{}},
			}},
		}
	}
	static := []object{grpc("xds-grpc", socket), grpc("sds-grpc", socket)}
	if p.logs != 0 {
		static = append(static, grpc(ServiceCluster, object{"socket_address": object{"address": "127.0.0.1", "port_value": p.logs}}))
	}
	ads := object{"ads": object{}, "resource_api_version": "V3"}
	config := object{
		"node":  object{"id": "sidecar~127.0.0.1~test.default~default.svc.cluster.local", "cluster": "test"},
		"admin": object{"address": object{"pipe": object{"path": filepath.Join(p.dir, "admin")}}},
		"dynamic_resources": object{
			"ads_config": object{
				"api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
				"grpc_services": []object{{"envoy_grpc": object{"cluster_name": "xds-grpc"}}},
			},
			"cds_config": ads, "lds_config": ads,
		},
		"static_resources": object{"clusters": static},
	}
	if p.names.IsValid() {
		config["typed_dns_resolver_config"] = object{"name": "envoy.network.dns_resolver.cares", "typed_config": object{
			"@type":                "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
			"resolvers":            []object{{"socket_address": object{"address": p.names.Addr().String(), "port_value": p.names.Port()}}},
			"dns_resolver_options": object{"no_default_search_domain": true},
		}}
	}
	p.fellows(config)
	return config
}

// waitReady polls Envoy's own readiness; a refused resource or an exit ends it
// at once.
func (p *Proxy) waitReady(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	last := "no answer yet"
	for {
		if refused := p.ads.refused(); len(refused) > 0 {
			return fmt.Errorf("refused by Envoy: %s", strings.Join(refused, "; "))
		}
		if body, err := p.admin(ctx, "/ready"); err == nil && strings.TrimSpace(body) == "LIVE" {
			return nil
		} else if err == nil {
			last = strings.TrimSpace(body)
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return fmt.Errorf("envoy exited: %s", p.log.tail(2000))
		case <-ctx.Done():
			return fmt.Errorf("envoy is not ready (%s): it waits for something it never got: %w\n%s", last, ctx.Err(), p.log.tail(2000))
		}
	}
}

// admin asks Envoy's admin interface.
func (p *Proxy) admin(ctx context.Context, path string) (string, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(p.dir, "admin"))
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://admin"+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// listening are the ports that Envoy chose for the bound listeners.
func (p *Proxy) listening(ctx context.Context) (map[string]int, error) {
	body, err := p.admin(ctx, "/listeners?format=json")
	if err != nil {
		return nil, err
	}
	var all struct {
		Statuses []struct {
			Name  string `json:"name"`
			Local struct {
				Socket struct {
					Port int `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		return nil, fmt.Errorf("the admin interface's listeners: %w", err)
	}
	ports := map[string]int{}
	for _, l := range all.Statuses {
		ports[l.Name] = l.Local.Socket.Port
	}
	return ports, nil
}

// Ejected are the endpoints, "IP:PORT", of a cluster that outlier detection
// has put out, sorted.
func (p *Proxy) Ejected(ctx context.Context, cluster string) ([]string, error) {
	body, err := p.admin(ctx, "/clusters?format=json")
	if err != nil {
		return nil, err
	}
	var all struct {
		Clusters []struct {
			Name  string `json:"name"`
			Hosts []struct {
				Address struct {
					Socket struct {
						Port int `json:"port_value"`
					} `json:"socket_address"`
				} `json:"address"`
				Health struct {
					Ejected bool `json:"failed_outlier_check"`
				} `json:"health_status"`
			} `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		return nil, fmt.Errorf("the admin interface's clusters: %w", err)
	}
	out := []string{}
	for _, c := range all.Clusters {
		for _, h := range c.Hosts {
			if c.Name == cluster && h.Health.Ejected {
				out = append(out, p.echoes.endpoint(h.Address.Socket.Port))
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// HashTable is what a cluster with a consistent hash has built, by its
// statistics: "ring ENTRIES", or "maglev LEAST..MOST" entries of an endpoint.
func (p *Proxy) HashTable(ctx context.Context, cluster string) (string, error) {
	text, err := p.admin(ctx, "/stats?filter=_lb%5C.")
	if err != nil {
		return "", err
	}
	stat := map[string]int{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if short, ok := strings.CutPrefix(name, "cluster."+strings.ReplaceAll(cluster, ":", "_")+"."); ok {
			stat[short], _ = strconv.Atoi(value)
		}
	}
	if size := stat["ring_hash_lb.size"]; size > 0 {
		return fmt.Sprintf("ring %d", size), nil
	}
	return fmt.Sprintf("maglev %d..%d", stat["maglev_lb.min_entries_per_host"], stat["maglev_lb.max_entries_per_host"]), nil
}

// ConfigDump is Envoy's own account of its configuration, for a failure's
// message.
func (p *Proxy) ConfigDump(ctx context.Context) (string, error) { return p.admin(ctx, "/config_dump") }

// Log is the end of what Envoy has written.
func (p *Proxy) Log() string { return p.log.tail(4000) }

// Close ends Envoy, its control plane and its endpoints, and removes what they
// left.
func (p *Proxy) Close() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	if p.ads != nil {
		p.ads.stop()
	}
	p.echoes.close()
	if p.dir != "" {
		_ = os.RemoveAll(p.dir)
	}
}

var errNoListener = errors.New("no such listener is bound")

// lockedBuffer collects a process's output.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) tail(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.buf.String()
	return s[max(0, len(s)-n):]
}
