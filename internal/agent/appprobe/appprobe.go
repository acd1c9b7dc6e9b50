// Package appprobe asks the app of this pod whether it is well, for the
// kubelet: the injector points the app's probes and HTTP lifecycle hooks at the
// agent, since the kubelet has no certificate of the mesh and a STRICT proxy
// would refuse it.
//
// Inputs: the original probes, as the injector wrote them into the pod's
// environment, and the pod's address. Output: an http.Handler. It connects from
// the pass-through address, so that capture leaves the connection alone, and to
// the pod's address, as the kubelet would. Of the agent it may import nothing.
package appprobe

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The folders of paths that this package serves, as Istio's injector has them.
const (
	HealthPrefix    = "/app-health/"
	LifecyclePrefix = "/app-lifecycle/"
)

// Probe is one original probe or hook; exactly one of HTTPGet, TCPSocket and
// GRPC is set.
//
// Source: Kubernetes' v1.Probe with port names resolved, the form of Istio's
// ISTIO_KUBE_APP_PROBERS.
type Probe struct {
	HTTPGet        *HTTPGet   `json:"httpGet,omitempty"`
	TCPSocket      *TCPSocket `json:"tcpSocket,omitempty"`
	GRPC           *GRPC      `json:"grpc,omitempty"`
	TimeoutSeconds int        `json:"timeoutSeconds,omitempty"` // 0: 1
}

// HTTPGet succeeds with a status of 200 to 399.
type HTTPGet struct {
	Path    string   `json:"path,omitempty"`
	Host    string   `json:"host,omitempty"` // "": the pod's address
	Port    uint16   `json:"port"`
	Scheme  string   `json:"scheme,omitempty"` // HTTP (also "") or HTTPS, whose certificate is not checked
	Headers []Header `json:"httpHeaders,omitempty"`
}

// Header is one header of a probe; Host sets the request's authority.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// TCPSocket succeeds when a connection opens.
type TCPSocket struct {
	Host string `json:"host,omitempty"` // "": the pod's address
	Port uint16 `json:"port"`
}

// GRPC succeeds when grpc.health.v1.Health says SERVING for Service.
type GRPC struct {
	Port    uint16 `json:"port"`
	Service string `json:"service,omitempty"`
}

// Parse reads the pod's probes by path; "" means none. Errors name the path.
func Parse(text string) (map[string]Probe, error) {
	if text == "" {
		return nil, nil
	}
	var probes map[string]Probe
	if err := json.Unmarshal([]byte(text), &probes); err != nil {
		return nil, fmt.Errorf("appprobe: want a JSON object of probes by path: %w", err)
	}
	for path, p := range probes {
		if !strings.HasPrefix(path, HealthPrefix) && !strings.HasPrefix(path, LifecyclePrefix) {
			return nil, fmt.Errorf("appprobe: path %q: want %sCONTAINER/KIND or %sCONTAINER/KIND", path, HealthPrefix, LifecyclePrefix)
		}
		if err := p.Check(); err != nil {
			return nil, fmt.Errorf("appprobe: path %q: %w", path, err)
		}
	}
	return probes, nil
}

// Check says what is wrong with a probe.
func (p Probe) Check() error {
	kinds, port := 0, uint16(0)
	if p.HTTPGet != nil {
		kinds, port = kinds+1, p.HTTPGet.Port
	}
	if p.TCPSocket != nil {
		kinds, port = kinds+1, p.TCPSocket.Port
	}
	if p.GRPC != nil {
		kinds, port = kinds+1, p.GRPC.Port
	}
	if kinds != 1 || port == 0 || p.TimeoutSeconds < 0 {
		return errors.New("want one of httpGet, tcpSocket and grpc, with a port")
	}
	return nil
}

// Handler answers the kubelet: 200 when the app is well, else 503 with why
// not. For an HTTP probe the app's own status is passed on.
type Handler struct {
	probes map[string]Probe
	at     netip.Addr // the pod's primary address
	log    *slog.Logger
	client http.RoundTripper
}

// New returns a Handler of probes, for a pod whose primary address is at.
func New(probes map[string]Probe, at netip.Addr, log *slog.Logger) *Handler {
	h := &Handler{probes: probes, at: at, log: log}
	h.client = &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return h.dial(ctx, address) },
		// The kubelet checks no certificate either: an app's own is for its host name.
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true, DisableCompression: true,
		ForceAttemptHTTP2: true,
	}
	return h
}

// ServeHTTP makes the probe of that path.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p, ok := h.probes[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(max(p.TimeoutSeconds, 1))*time.Second)
	defer cancel()
	status, err := h.ask(ctx, p, r.UserAgent())
	if err != nil {
		h.log.Debug("the app's probe fails", "path", r.URL.Path, "error", err)
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(status)
}

// Ask makes one probe; nil: the app is well.
func (h *Handler) Ask(ctx context.Context, p Probe) error {
	status, err := h.ask(ctx, p, "weft-agent")
	if err == nil && (status < 200 || status > 399) {
		err = fmt.Errorf("status %d", status)
	}
	return err
}

// ask returns the status to answer; an error where there is none.
func (h *Handler) ask(ctx context.Context, p Probe, userAgent string) (int, error) {
	switch {
	case p.HTTPGet != nil:
		return h.askHTTP(ctx, p.HTTPGet, userAgent)
	case p.GRPC != nil:
		return http.StatusOK, h.askGRPC(ctx, p.GRPC, userAgent)
	}
	conn, err := h.dial(ctx, h.address(p.TCPSocket.Host, p.TCPSocket.Port))
	if err != nil {
		return 0, err
	}
	return http.StatusOK, conn.Close()
}

// maxBody is how much of an answer is read, as the kubelet does.
const maxBody = 10 << 10

func (h *Handler) askHTTP(ctx context.Context, p *HTTPGet, userAgent string) (int, error) {
	request, err := h.request(ctx, p, userAgent)
	if err != nil {
		return 0, err
	}
	client := http.Client{Transport: h.client, CheckRedirect: sameHost}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxBody))
	return response.StatusCode, nil
}

// request is what the kubelet would have sent.
func (h *Handler) request(ctx context.Context, p *HTTPGet, userAgent string) (*http.Request, error) {
	target, err := url.Parse(p.Path)
	if err != nil {
		return nil, fmt.Errorf("probe path: %w", err)
	}
	target.Scheme, target.Host = strings.ToLower(p.Scheme), h.address(p.Host, p.Port)
	if target.Scheme == "" {
		target.Scheme = "http"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", userAgent)
	request.Header.Set("Accept", "*/*")
	for _, header := range p.Headers {
		if strings.EqualFold(header.Name, "Host") {
			request.Host = header.Value
			continue
		}
		request.Header.Add(header.Name, header.Value)
	}
	return request, nil
}

// sameHost follows a redirect within the app and takes one to elsewhere as the
// answer, as the kubelet does.
func sameHost(next *http.Request, via []*http.Request) error {
	if next.URL.Hostname() != via[0].URL.Hostname() || len(via) >= 10 {
		return http.ErrUseLastResponse
	}
	return nil
}

func (h *Handler) address(host string, port uint16) string {
	return net.JoinHostPort(cmp.Or(host, h.at.String()), strconv.Itoa(int(port)))
}

// The pass-through addresses, from which capture lets connections to the app be.
var (
	passthroughV4 = netip.AddrFrom4([4]byte{127, 0, 0, 6})
	passthroughV6 = netip.AddrFrom16([16]byte{15: 6})
)

// dial goes to the pod's own address from the pass-through address; to others as
// any connection of the agent.
func (h *Handler) dial(ctx context.Context, address string) (net.Conn, error) {
	if host, _, err := net.SplitHostPort(address); err != nil || host != h.at.String() {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	from := passthroughV4
	if h.at.Is6() {
		from = passthroughV6
	}
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	return d.DialContext(ctx, "tcp", address)
}
