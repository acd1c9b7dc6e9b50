package local

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/weftmesh/weft/internal/capture"
	"github.com/weftmesh/weft/internal/local/network"
	"github.com/weftmesh/weft/internal/local/pod"
	"github.com/weftmesh/weft/internal/local/wire"
)

// Mesh is the mesh that this process, meshd, runs. It is safe for concurrent
// use. Controllers get it; its pods end at the latest when they return.
type Mesh struct {
	setup *setup
	conn  *wire.Conn
	stop  func()
	host  *pod.Host
	api   *api
	pool  network.Pool

	mu      sync.Mutex
	pods    map[string]*pod.Pod // by NAMESPACE/NAME
	answers map[int]chan answer
	lastID  int
}

// Name is Options.Name.
func (m *Mesh) Name() string { return m.setup.Name }

// Mode tells whether the mesh runs with root's rights.
func (m *Mesh) Mode() Mode { return m.setup.Mode }

// Config is Options.Config.
func (m *Mesh) Config() []byte { return m.setup.Config }

// User is who apps without a user of their own run as: the one who started the
// mesh, also when that was by sudo.
func (m *Mesh) User() pod.User { return m.setup.Identity.Default }

// Stop does what Ctrl-C does: the controllers' context is done.
func (m *Mesh) Stop() { m.stop() }

// RunDir is where a pod finds Spec.Files: the same path in each pod, of which
// each has its own. Below it, "proxy" belongs to the proxy's user (0700).
func (m *Mesh) RunDir() string { return m.host.RunDir }

// SharedDir gives the path of a directory in the mesh's memory, made if it is
// not there. Pods with its name in Spec.Shared see it at the same path, and what
// is written to it later. Name is one path element, not "weft".
func (m *Mesh) SharedDir(name string) (string, error) {
	if name == "" || name != filepath.Base(name) || name[0] == '.' || name == filepath.Base(m.host.RunDir) {
		return "", fmt.Errorf("local mesh: shared directory %q: one plain name is needed, other than %q", name, filepath.Base(m.host.RunDir))
	}
	dir := filepath.Join(m.host.MeshDir, name)
	return dir, os.MkdirAll(dir, 0o755)
}

// ProxyMark is the SO_MARK that a proxy must put on its sockets; 0 means none,
// because the proxy has a user of its own.
func (m *Mesh) ProxyMark() int {
	if m.setup.Identity.Rootless {
		return int(capture.ProxyMark)
	}
	return 0
}

// NewAddresses gives an IPv4 and, where the machine has it, an IPv6 address for
// a new pod. They are free again when the pod that has them is gone, or by
// FreeAddresses.
func (m *Mesh) NewAddresses() ([]netip.Addr, error) { return m.pool.Take(network.HasIPv6()) }

// FreeAddresses takes back addresses that no pod was started with.
func (m *Mesh) FreeAddresses(list []netip.Addr) { m.pool.Give(list) }

// GatewayAddresses are this process's own in the mesh, IPv4 first: what it
// listens on there, every pod reaches.
func (m *Mesh) GatewayAddresses() []netip.Addr {
	if network.HasIPv6() {
		return []netip.Addr{network.GatewayV4, network.GatewayV6}
	}
	return []netip.Addr{network.GatewayV4}
}

// PodCIDRs are the ranges of NewAddresses.
func PodCIDRs() []netip.Prefix { return []netip.Prefix{network.PodV4, network.PodV6} }

// ServiceCIDRs are the ranges of ClusterIPs: every pod routes them into the mesh.
func ServiceCIDRs() []netip.Prefix { return []netip.Prefix{network.ServiceV4, network.ServiceV6} }

// SetServices does kube-proxy's part: it translates ClusterIPs for pods that have
// no proxy. It replaces the services of an earlier call.
func (m *Mesh) SetServices(list []network.Service) error { return network.SetServices(list) }

// StartPod makes a pod and starts its processes; see pod.Host.Start.
// The name is free again when the pod is gone.
func (m *Mesh) StartPod(ctx context.Context, spec pod.Spec, onEvent func(pod.Event)) (*pod.Pod, error) {
	key := spec.Namespace + "/" + spec.Name
	m.mu.Lock()
	if _, taken := m.pods[key]; taken {
		m.mu.Unlock()
		return nil, fmt.Errorf("pod %s: one of that name is there", key)
	}
	m.pods[key] = nil // being made
	m.mu.Unlock()
	p, err := m.host.Start(ctx, spec, onEvent)
	if err != nil {
		m.forget(key, spec.Addresses)
		return nil, err
	}
	m.mu.Lock()
	m.pods[key] = p
	m.mu.Unlock()
	go func() {
		<-p.Done()
		m.forget(key, spec.Addresses)
	}()
	return p, nil
}

func (m *Mesh) forget(key string, addrs []netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.pods, key)
	m.pool.Give(addrs)
}

// Pod finds a running pod; nil means there is none of that name.
func (m *Mesh) Pod(namespace, name string) *pod.Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pods[namespace+"/"+name]
}

// Pods lists the running pods by namespace and name.
func (m *Mesh) Pods() (list []*pod.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(m.pods)) {
		if p := m.pods[key]; p != nil {
			list = append(list, p)
		}
	}
	return list
}

// Listen opens a TCP listener in the network of the host, such as
// "127.0.0.1:8080". A port that is taken is an error that names it and, if that
// can be seen, its holder. The listener is gone with the mesh.
func (m *Mesh) Listen(ctx context.Context, address string) (net.Listener, error) {
	fds, err := m.ask(ctx, request{Listen: address})
	if err != nil {
		return nil, err
	}
	if len(fds) != 1 {
		wire.CloseAll(fds)
		return nil, fmt.Errorf("listen on %s: the supervisor sent %d listeners", address, len(fds))
	}
	f := os.NewFile(uintptr(fds[0]), address)
	defer f.Close()
	return net.FileListener(f)
}

// Handle serves an http.ServeMux pattern to the commands of the same user
// (Client.HTTP). GET /v1/mesh, POST /v1/exec and GET /v1/logs are there already.
// A pattern that conflicts with another panics, as in net/http.
func (m *Mesh) Handle(pattern string, h http.Handler) { m.api.mux.Handle(pattern, h) }

// close kills the pods that the controllers left.
func (m *Mesh) close() {
	pods := m.Pods()
	for _, p := range pods {
		p.Kill()
	}
	for _, p := range pods {
		<-p.Done()
	}
}
