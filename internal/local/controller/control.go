package controller

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/pod"
)

// controlPlane is the CA and the pilot, each a pod of its own without a proxy,
// as in a cluster.
type controlPlane struct {
	pilot, ca netip.Addr
	roots     string // file of the trusted roots, which the CA keeps fresh; see publicDir
	v6        bool
}

// publicDir is the shared directory of what every pod reads of the CA.
const publicDir = "ca-public"

// reportEvery is how often local proxies say what they trust: a person waits
// for the rotation that goes by it.
const reportEvery = 5 * time.Second

func (cp *controlPlane) serviceRangeV6() netip.Prefix {
	if !cp.v6 {
		return netip.Prefix{}
	}
	return local.ServiceCIDRs()[1]
}

const startTimeout = 30 * time.Second

// startControlPlane starts the CA, takes its root, and starts the pilot.
func startControlPlane(ctx context.Context, c *Controller) (*controlPlane, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	key, err := c.signer.publicPEM()
	if err != nil {
		return nil, err
	}
	caAddrs, err := c.mesh.NewAddresses()
	if err != nil {
		return nil, err
	}
	store, err := c.mesh.SharedDir("ca")
	if err != nil {
		return nil, err
	}
	public, err := c.mesh.SharedDir(publicDir)
	if err != nil {
		return nil, err
	}
	cp := &controlPlane{ca: caAddrs[0], roots: public + "/root-cert.pem", v6: len(caAddrs) > 1}
	caPod := systemPod(caName, caAddrs)
	argv := []string{
		c.options.CA, fmt.Sprintf("--listen=%s", netip.AddrPortFrom(cp.ca, 15012)), "--monitoring=127.0.0.1:15014", "--store=" + store + "/store",
		"--root-out=" + cp.roots, "--local-identity-key=" + c.mesh.RunDir() + "/identity-key.pem",
		fmt.Sprintf("--dns-names=%s/%s=%[2]s.%[1]s.svc", SystemNamespace, pilotName), "--report-every=" + reportEvery.String(),
	}
	if c.options.CertificateTTL > 0 {
		argv = append(argv, "--ttl="+c.options.CertificateTTL.String())
	}
	spec := c.controlSpec(caPod, argv)
	spec.Files = []pod.File{{Path: "identity-key.pem", Data: key}}
	spec.Shared = []string{"ca", publicDir}
	if err := c.run(ctx, newControlRunner(c, caPod), spec); err != nil {
		return nil, err
	}
	if err := awaitRoots(ctx, cp.roots); err != nil {
		return nil, err
	}
	return cp, c.startPilot(ctx, cp)
}

func (c *Controller) startPilot(ctx context.Context, cp *controlPlane) error {
	addrs, err := c.mesh.NewAddresses()
	if err != nil {
		return err
	}
	cp.pilot = addrs[0]
	p := systemPod(pilotName, addrs)
	token, err := c.signer.token(p)
	if err != nil {
		return err
	}
	run := c.mesh.RunDir()
	argv := []string{
		c.options.Pilot, "--config=" + c.options.Dir, "--state=" + c.state.dir,
		fmt.Sprintf("--xds=%s", netip.AddrPortFrom(cp.pilot, 15012)), "--monitoring=127.0.0.1:15014", "--ready=127.0.0.1:8080",
		fmt.Sprintf("--ca=%s", netip.AddrPortFrom(cp.ca, 15012)), "--root-cert=" + cp.roots, "--token=" + run + "/token",
	}
	if c.options.KeyRefresh > 0 {
		argv = append(argv, "--jwks-refresh="+c.options.KeyRefresh.String())
	}
	spec := c.controlSpec(p, argv)
	spec.DNS = dns(p.Namespace, c.mesh.GatewayAddresses()) // for hosts of a jwksUri
	spec.Files = []pod.File{{Path: "token", Data: token}}
	spec.Shared = []string{"state", publicDir}
	return c.run(ctx, newControlRunner(c, p), spec)
}

func systemPod(name string, addrs []netip.Addr) *corev1.Pod {
	w := &workload{
		namespace: SystemNamespace, name: name, role: roleControl, hash: "control",
		template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name, "app.kubernetes.io/part-of": "weft"}},
			Spec:       corev1.PodSpec{ServiceAccountName: name, Containers: []corev1.Container{{Name: controlProcess}}},
		},
	}
	p := w.pod(addrs)
	p.Name = name // one of each; a fixed name is easier to type
	return p
}

// controlProcess is the container of a control plane pod.
const controlProcess = "discovery"

func (c *Controller) controlSpec(p *corev1.Pod, argv []string) pod.Spec {
	var addrs []netip.Addr
	for _, ip := range p.Status.PodIPs {
		addrs = append(addrs, netip.MustParseAddr(ip.IP))
	}
	return pod.Spec{
		Name: p.Name, Namespace: p.Namespace, UID: string(p.UID), Hostname: p.Name, Addresses: addrs,
		Processes: []pod.Process{{
			Name: controlProcess, Argv: argv, Env: []string{"PATH=/usr/bin:/bin", "POD_NAME=" + p.Name, "POD_NAMESPACE=" + p.Namespace},
			LogBytes: 1 << 20, Restart: pod.Restart{Max: 2 * time.Second},
		}},
	}
}

// newControlRunner probes a control plane pod at its /ready, on its loopback.
func newControlRunner(c *Controller, p *corev1.Pod) *runner {
	w := &workload{namespace: p.Namespace, name: p.Name, role: roleControl, hash: "control"}
	r := w.newRunner(c, p)
	r.grace = 5 * time.Second
	r.spec.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Host: "127.0.0.1", Port: intstr.FromInt32(15014)}},
		PeriodSeconds: 1,
	}
	return r
}
