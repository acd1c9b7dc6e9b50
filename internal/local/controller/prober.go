package controller

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weftmesh/weft/internal/local/pod"
)

// target is where probes go: a running pod's own network.
type target struct {
	pod  *pod.Pod
	spec *corev1.Pod
	ip   netip.Addr
}

// probe runs a container's probe once; nil is success.
// Source: Kubernetes, Probe.
func (t target) probe(ctx context.Context, process string, p *corev1.Probe) error {
	timeout := time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case p.HTTPGet != nil:
		return t.http(ctx, p.HTTPGet)
	case p.TCPSocket != nil:
		return t.tcp(ctx, p.TCPSocket)
	case p.GRPC != nil:
		return t.grpc(ctx, p.GRPC)
	case p.Exec != nil:
		return t.exec(ctx, process, p.Exec.Command)
	}
	return fmt.Errorf("the probe has no action")
}

func (t target) address(port intstr.IntOrString) (string, error) {
	number := port.IntVal
	if port.Type == intstr.String {
		if number = containerPort(t.spec, port.StrVal); number == 0 {
			return "", fmt.Errorf("no container port is named %q", port.StrVal)
		}
	}
	return net.JoinHostPort(t.ip.String(), strconv.Itoa(int(number))), nil
}

func (t target) exec(ctx context.Context, process string, argv []string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	fd := int(null.Fd())
	exit, err := t.pod.Exec(ctx, pod.ExecRequest{Argv: argv, As: process}, [3]int{fd, fd, fd}, nil)
	if err == nil && exit != (pod.Exit{}) {
		err = fmt.Errorf("the command ended with code %d, signal %d", exit.Code, exit.Signal)
	}
	return err
}

func (t target) tcp(ctx context.Context, to *corev1.TCPSocketAction) error {
	addr, err := t.address(to.Port)
	if err != nil {
		return err
	}
	if to.Host != "" {
		_, port, _ := net.SplitHostPort(addr) // address made it
		addr = net.JoinHostPort(to.Host, port)
	}
	conn, err := t.pod.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", addr, cause(err))
	}
	return conn.Close()
}

func (t target) http(ctx context.Context, get *corev1.HTTPGetAction) error {
	addr, err := t.address(get.Port)
	if err != nil {
		return err
	}
	if get.Host != "" {
		_, port, _ := net.SplitHostPort(addr) // address made it
		addr = net.JoinHostPort(get.Host, port)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.ToLower(cmp.Or(string(get.Scheme), "http"))+"://"+addr+get.Path, nil)
	if err != nil {
		return err
	}
	for _, h := range get.HTTPHeaders {
		if req.Header.Add(h.Name, h.Value); strings.EqualFold(h.Name, "Host") {
			req.Host = h.Value
		}
	}
	req.Header.Set("User-Agent", "kube-probe/1.36")
	return fetchOK(t.pod, req)
}

// fetchOK is a request from inside a pod; every status below 400 is success.
func fetchOK(p *pod.Pod, req *http.Request) error {
	// The kubelet checks no certificate either: an app's own is for its host name.
	transport := &http.Transport{DialContext: p.DialContext, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("GET %s: %w", req.URL, cause(err))
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // to the end, so that the server sees no reset
	if resp.StatusCode >= 400 {
		return fmt.Errorf("GET %s: status %s", req.URL, resp.Status)
	}
	return nil
}

// cause leaves out of a failed connection what its reader knows already: the
// pod, and the address a second time.
func cause(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	return err
}

func (t target) grpc(ctx context.Context, g *corev1.GRPCAction) error {
	addr, err := t.address(intstr.FromInt32(g.Port))
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return t.pod.DialContext(ctx, "tcp", addr) }))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	service := ""
	if g.Service != nil {
		service = *g.Service
	}
	resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		return err
	}
	if resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("status %s", resp.GetStatus())
	}
	return nil
}

// schedule holds a probe's counts with Kubernetes' defaults.
type schedule struct {
	delay, period    time.Duration
	success, failure int
}

func scheduleOf(p *corev1.Probe) schedule {
	s := schedule{
		delay: time.Duration(p.InitialDelaySeconds) * time.Second, period: time.Duration(p.PeriodSeconds) * time.Second,
		success: max(int(p.SuccessThreshold), 1), failure: int(p.FailureThreshold),
	}
	if s.period <= 0 {
		s.period = 10 * time.Second
	}
	if s.failure <= 0 {
		s.failure = 3
	}
	return s
}

// quick is how often a readiness probe is repeated while it fails, so that
// starting is not slowed by a period that is meant for later.
const quick = 100 * time.Millisecond

// readiness is what a readiness probe reports to.
type readiness interface {
	// ready is the present verdict: false from the start, and again when the
	// process has ended.
	ready() bool
	// turn gives a new verdict, or a new reason for a failure.
	turn(ok bool, why error)
}

// watchReadiness repeats a probe until ctx ends.
func watchReadiness(ctx context.Context, s schedule, once func(context.Context) error, to readiness) {
	good, bad, reason := 0, 0, ""
	timer := time.NewTimer(s.delay)
	defer timer.Stop()
	for next(ctx, timer) {
		err := once(ctx)
		if ctx.Err() != nil {
			return
		}
		was := to.ready()
		if err == nil {
			good, bad, reason = good+1, 0, ""
		} else {
			good, bad = 0, bad+1
		}
		switch {
		case err == nil && !was && good >= s.success:
			to.turn(true, nil)
		case err != nil && was && bad >= s.failure, err != nil && !was && err.Error() != reason:
			reason = err.Error()
			to.turn(false, err)
		}
		timer.Reset(s.period)
		if !to.ready() {
			timer.Reset(min(quick, s.period))
		}
	}
}

// watchLiveness repeats a probe until ctx ends and calls dead each time it has
// failed often enough.
func watchLiveness(ctx context.Context, s schedule, once func(context.Context) error, dead func(error)) {
	failed := 0
	timer := time.NewTimer(max(s.delay, s.period))
	defer timer.Stop()
	for next(ctx, timer) {
		err := once(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failed = 0
		default:
			failed++
		}
		timer.Reset(s.period)
		if failed >= s.failure {
			failed = 0
			dead(err)
			timer.Reset(max(s.delay, s.period))
		}
	}
}

func next(ctx context.Context, timer *time.Timer) bool {
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
