package controller

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/capture"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/local/pod"
)

const (
	proxyProcess = "istio-proxy"
	// commandAnnotation overrides the first container's command and args, where
	// the cluster uses an image: a shell-like list of words.
	commandAnnotation = "weft.mesh/local-command"
	injectKey         = "sidecar.istio.io/inject"
	// statusAnnotation marks a pod that has a sidecar, as the injector does.
	statusAnnotation = "sidecar.istio.io/status"
)

// surroundings are what a pod's processes depend on beside its template.
type surroundings struct {
	options   Options
	set       config.Set
	mark      int    // of the proxy's sockets, 0 with root
	runDir    string // in the pod
	pilot, ca netip.Addr
	dns       []netip.Addr
	roots     string // file of the trusted roots, in the pod too
}

// injected reports whether a pod gets a sidecar: the label wins over the
// annotation.
func injected(t *corev1.PodTemplateSpec) bool {
	return cmp.Or(t.Labels[injectKey], t.Annotations[injectKey]) != "false"
}

// podSpec is how an app or gateway pod is run. token proves its identity.
func podSpec(p *corev1.Pod, r role, token []byte, s surroundings) (pod.Spec, error) {
	spec := pod.Spec{
		Name: p.Name, Namespace: p.Namespace, UID: string(p.UID), Hostname: hostname(p.Name), DNS: dns(p.Namespace, s.dns),
		Hosts: []pod.HostEntry{
			{IP: s.pilot, Names: []string{pilotName + "." + SystemNamespace + ".svc"}},
			{IP: s.ca, Names: []string{caName + "." + SystemNamespace + ".svc"}},
		},
	}
	for _, ip := range p.Status.PodIPs {
		addr, err := netip.ParseAddr(ip.IP)
		if err != nil {
			return spec, fmt.Errorf("pod %s: %w", p.Name, err)
		}
		spec.Addresses = append(spec.Addresses, addr)
	}
	proxied := hasSidecar(p) || r == roleGateway
	if _, err := s.proxySettings(p); proxied && err != nil {
		return spec, err
	}
	if proxied {
		spec.Processes = append(spec.Processes, proxy(p, r, s))
		spec.Programs = []pod.Program{{Name: "agent", Path: s.options.Agent}, {Name: "envoy", Path: s.options.Envoy}}
		spec.Files = []pod.File{{Path: "token", Data: token, ProxyOnly: true}}
		spec.Shared = []string{publicDir}
	}
	if hasSidecar(p) {
		spec.Capture = &capture.Options{DNS: true}
	}
	if r == roleMachine {
		return spec, nil
	}
	apps, err := apps(p, s)
	if err != nil {
		return spec, err
	}
	for i := range apps {
		apps[i].Hold = proxied || isProxyless(p) // the app starts when its proxy is ready
	}
	spec.Processes = append(spec.Processes, apps...)
	if isProxyless(p) {
		addGRPCAgent(&spec, p, token, s) // after the apps, which a command is run as
	}
	return spec, nil
}

func hasSidecar(p *corev1.Pod) bool {
	return p.Annotations[statusAnnotation] != "" && !config.Proxyless(p.Annotations)
}

// isProxyless reports whether a pod has an agent without Envoy.
func isProxyless(p *corev1.Pod) bool {
	return p.Annotations[statusAnnotation] != "" && config.Proxyless(p.Annotations)
}

// hostname keeps within the 63 characters of a host name.
func hostname(name string) string { return strings.TrimRight(name[:min(len(name), 63)], "-.") }

func dns(namespace string, servers []netip.Addr) pod.DNS {
	return pod.DNS{
		Nameservers: servers,
		Search:      []string{namespace + ".svc.cluster.local", "svc.cluster.local", "cluster.local"},
		Options:     []string{"ndots:5"},
	}
}

// proxy is the agent, which runs Envoy.
func proxy(p *corev1.Pod, r role, s surroundings) pod.Process {
	kind := "sidecar"
	if r == roleGateway {
		kind = "router"
	}
	settings, _ := s.proxySettings(p) // podSpec has told what is wrong
	argv := []string{
		s.runDir + "/bin/agent", "proxy", kind,
		"--run-dir=" + s.runDir + "/proxy",
		"--envoy=" + s.runDir + "/bin/envoy",
		fmt.Sprintf("--pilot=%s", netip.AddrPortFrom(s.pilot, 15012)),
		fmt.Sprintf("--ca=%s", netip.AddrPortFrom(s.ca, 15012)),
		"--root-cert=" + s.roots,
		"--token=" + s.runDir + "/token",
		fmt.Sprintf("--concurrency=%d", workers(settings)), "--drain-minimum=500ms", "--drain-idle=700ms", "--drain-duration=" + drain(p, settings).String(),
	}
	var listen []string
	if r != roleGateway {
		listen = dnsListen(p)
		argv = append(argv, fmt.Sprintf("--dns-sockets=%d", 2*len(listen))) // UDP and TCP
	}
	if s.mark != 0 {
		argv = append(argv, fmt.Sprintf("--socket-mark=%d", s.mark))
	}
	return pod.Process{
		Name: proxyProcess, Argv: argv, Env: withSettings(proxyEnv(p), settings), Proxy: true, Listen: listen, LogBytes: 512 << 10,
		Restart: pod.Restart{Max: 5 * time.Second}, Stop: pod.Stop{Order: 1, Notice: syscall.SIGUSR1},
	}
}

// dnsListen is where the agent answers the pod's DNS: capture redirects each
// family's queries to the loopback address of that family.
func dnsListen(p *corev1.Pod) []string {
	listen := []string{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), capture.DNSPort).String()}
	for _, ip := range p.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil && addr.Is6() {
			return append(listen, netip.AddrPortFrom(netip.IPv6Loopback(), capture.DNSPort).String())
		}
	}
	return listen
}

// grace is the pod's termination grace period, in seconds.
func grace(p *corev1.Pod) int64 {
	if s := p.Spec.TerminationGracePeriodSeconds; s != nil {
		return *s
	}
	return corev1.DefaultTerminationGracePeriodSeconds
}

// proxyEnv are the agent's variables, named as Istio's injector names them.
func proxyEnv(p *corev1.Pod) []string {
	labels, _ := json.Marshal(p.Labels) // a map of strings always has a JSON form
	var ips []string
	for _, ip := range p.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	return []string{
		"POD_NAME=" + p.Name, "POD_NAMESPACE=" + p.Namespace, "INSTANCE_IP=" + strings.Join(ips, ","),
		"SERVICE_ACCOUNT=" + p.Spec.ServiceAccountName, "TRUST_DOMAIN=cluster.local",
		"ISTIO_META_CLUSTER_ID=Kubernetes", "ISTIO_META_WORKLOAD_NAME=" + workloadName(p),
		"ISTIO_METAJSON_LABELS=" + string(labels),
	}
}

func workloadName(p *corev1.Pod) string { return p.Labels[workloadLabel] }

// apps are the containers as processes.
func apps(p *corev1.Pod, s surroundings) ([]pod.Process, error) {
	var out []pod.Process
	for i, c := range p.Spec.Containers {
		env, err := environment(p, c, s)
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", c.Name, err)
		}
		argv, err := command(p, c, i, env)
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", c.Name, err)
		}
		dir := s.options.Dir
		if c.WorkingDir != "" {
			dir = c.WorkingDir
		}
		if isProxyless(p) {
			env = append(grpcEnv(s), env...)
		}
		out = append(out, pod.Process{Name: c.Name, Argv: argv, Env: processEnv(p, s, env), Dir: dir, Restart: pod.Restart{Policy: pod.Policy(p.Spec.RestartPolicy)}})
	}
	return out, nil
}

// processEnv is what a container's process finds: the caller's variables, what a
// container runtime sets, and the container's own. Of one name the last stays
// alone: programs differ in which of two they read.
func processEnv(p *corev1.Pod, s surroundings, own []variable) (out []string) {
	all := slices.Concat(s.options.Env, []string{"HOSTNAME=" + hostname(p.Name)}, pairs(own))
	seen := map[string]bool{}
	for _, e := range slices.Backward(all) {
		name, _, _ := strings.Cut(e, "=")
		if !seen[name] {
			out = append(out, e)
		}
		seen[name] = true
	}
	slices.Reverse(out)
	return out
}

// command is what a container runs: the annotation, else command and args with
// $(VAR) replaced. An image alone cannot be run here.
func command(p *corev1.Pod, c corev1.Container, index int, env []variable) ([]string, error) {
	if text := p.Annotations[commandAnnotation]; text != "" && index == 0 {
		words, err := splitWords(text)
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", commandAnnotation, err)
		}
		return words, nil
	}
	if len(c.Command) == 0 {
		return nil, fmt.Errorf("it has no command; local pods are processes, so give spec.template.spec.containers[%d].command, or the annotation %s", index, commandAnnotation)
	}
	var argv []string
	for _, word := range append(append([]string{}, c.Command...), c.Args...) {
		argv = append(argv, expand(word, env))
	}
	return argv, nil
}

// splitWords splits as a shell does, with ' and " and backslash, but without
// variables.
func splitWords(text string) (words []string, err error) {
	var word strings.Builder
	var quote rune
	started, escaped := false, false
	for _, c := range text {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, started = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, started = c, true
		case quote == 0 && (c == ' ' || c == '\t' || c == '\n'):
			if started {
				words = append(words, word.String())
			}
			word.Reset()
			started = false
		default:
			word.WriteRune(c)
			started = true
		}
	}
	if quote != 0 || escaped {
		return nil, fmt.Errorf("%q ends within a quotation", text)
	}
	if started {
		words = append(words, word.String())
	}
	if len(words) == 0 {
		return nil, fmt.Errorf("it is empty")
	}
	return words, nil
}
