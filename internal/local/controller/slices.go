package controller

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// podFacts are what a Service's endpoints depend on.
type podFacts struct {
	pod         *corev1.Pod
	ready       bool
	terminating bool
	// entry is a machine's, which no Service of Kubernetes knows; else nil.
	entry *unstructured.Unstructured
}

// selected are the pods that a Service selects, in the order of their names.
func selected(svc *corev1.Service, pods []podFacts) (out []podFacts) {
	if len(svc.Spec.Selector) == 0 {
		return nil
	}
	for _, p := range pods {
		if p.entry == nil && p.pod.Namespace == svc.Namespace && matches(svc.Spec.Selector, p.pod.Labels) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b podFacts) int { return cmp.Compare(a.pod.Name, b.pod.Name) })
	return out
}

func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// endpointSlices are the slices of a Service as Kubernetes' controller makes
// them: one for each family and each set of resolved ports.
func endpointSlices(svc *corev1.Service, pods []podFacts) (out []*discoveryv1.EndpointSlice) {
	byPorts := map[string]*discoveryv1.EndpointSlice{}
	for _, p := range selected(svc, pods) {
		ports := resolvePorts(svc, p.pod)
		for _, ip := range p.pod.Status.PodIPs {
			addr, err := netip.ParseAddr(ip.IP)
			if err != nil {
				continue
			}
			family := discoveryv1.AddressTypeIPv4
			if addr.Is6() {
				family = discoveryv1.AddressTypeIPv6
			}
			if !serves(svc, addr) {
				continue
			}
			id := fmt.Sprint(family, portKey(ports))
			s := byPorts[id]
			if s == nil {
				s = newSlice(svc, family, ports, len(byPorts))
				byPorts[id] = s
				out = append(out, s)
			}
			s.Endpoints = append(s.Endpoints, endpoint(p, ip.IP, svc.Spec.PublishNotReadyAddresses))
		}
	}
	return out
}

// serves reports whether a Service is of the address's family. As in
// Kubernetes a Service is of one family, IPv4, unless it asks for more.
func serves(svc *corev1.Service, addr netip.Addr) bool {
	if len(svc.Spec.IPFamilies) > 0 {
		want := corev1.IPv4Protocol
		if addr.Is6() {
			want = corev1.IPv6Protocol
		}
		return slices.Contains(svc.Spec.IPFamilies, want) || dualStack(svc)
	}
	return addr.Is4() || dualStack(svc)
}

func dualStack(svc *corev1.Service) bool {
	p := svc.Spec.IPFamilyPolicy
	return p != nil && *p != corev1.IPFamilyPolicySingleStack
}

func newSlice(svc *corev1.Service, family discoveryv1.AddressType, ports []discoveryv1.EndpointPort, n int) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: svc.Namespace, Name: fmt.Sprintf("%s-%d", svc.Name, n),
			Labels: map[string]string{discoveryv1.LabelServiceName: svc.Name, discoveryv1.LabelManagedBy: "weft-local"},
		},
		AddressType: family, Ports: ports,
	}
}

func endpoint(p podFacts, ip string, always bool) discoveryv1.Endpoint {
	serving := p.ready || always
	ready := serving && !p.terminating
	terminating := p.terminating
	return discoveryv1.Endpoint{
		Addresses:  []string{ip},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.pod.Namespace, Name: p.pod.Name, UID: p.pod.UID},
	}
}

// resolvePorts gives the pod's ports for each port of the Service; a named
// target port that the pod lacks is left out, as Kubernetes does.
func resolvePorts(svc *corev1.Service, pod *corev1.Pod) (out []discoveryv1.EndpointPort) {
	for _, p := range svc.Spec.Ports {
		number := p.TargetPort.IntVal
		switch {
		case p.TargetPort.StrVal != "":
			number = containerPort(pod, p.TargetPort.StrVal)
		case number == 0:
			number = p.Port
		}
		if number == 0 {
			continue
		}
		name, protocol := p.Name, cmp.Or(p.Protocol, corev1.ProtocolTCP)
		out = append(out, discoveryv1.EndpointPort{Name: &name, Port: &number, Protocol: &protocol, AppProtocol: p.AppProtocol})
	}
	return out
}

func containerPort(pod *corev1.Pod, name string) int32 {
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == name {
				return p.ContainerPort
			}
		}
	}
	return 0
}

func portKey(ports []discoveryv1.EndpointPort) string {
	var b strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&b, "%s=%d,", *p.Name, *p.Port)
	}
	return b.String()
}

// addresses gives Services their virtual addresses: the same in each run, for
// people to remember. The zero value is ready.
type addresses struct {
	taken map[netip.Addr]string // address -> service key
	given map[string]string     // by service key and range
}

// of returns the address of a Service in a range.
func (a *addresses) of(key string, prefix netip.Prefix) string {
	id := key + " " + prefix.String()
	if ip, ok := a.given[id]; ok {
		return ip
	}
	if a.given == nil {
		a.taken, a.given = map[netip.Addr]string{}, map[string]string{}
	}
	a.given[id] = a.take(key, prefix).String()
	return a.given[id]
}

func (a *addresses) take(key string, prefix netip.Prefix) netip.Addr {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	for n := h.Sum32(); ; n++ {
		raw := prefix.Addr().AsSlice()
		// Two bytes of variation, away from the ends of the range.
		raw[len(raw)-2], raw[len(raw)-1] = byte(n>>8), byte(n)
		addr, _ := netip.AddrFromSlice(raw)
		if byte(n) == 0 || byte(n) == 255 {
			continue
		}
		if _, used := a.taken[addr]; !used {
			a.taken[addr] = key
			return addr
		}
	}
}

// withAddresses returns the Service as an API server would hold it: with its
// virtual addresses. Headless and external ones are returned as they are.
func (a *addresses) withAddresses(svc *corev1.Service, v4, v6 netip.Prefix) *corev1.Service {
	if svc.Spec.ClusterIP == corev1.ClusterIPNone || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return svc
	}
	out := svc.DeepCopy()
	if out.Spec.ClusterIP != "" {
		return out
	}
	for _, prefix := range []netip.Prefix{v4, v6} {
		if prefix.IsValid() && serves(svc, prefix.Addr()) {
			out.Spec.ClusterIPs = append(out.Spec.ClusterIPs, a.of(svc.Namespace+"/"+svc.Name, prefix))
		}
	}
	if len(out.Spec.ClusterIPs) > 0 {
		out.Spec.ClusterIP = out.Spec.ClusterIPs[0]
	}
	return out
}

// Canonical are the names by which telemetry knows a pod.
func Canonical(labels map[string]string, workload string) (app, version string) {
	app = cmp.Or(labels["service.istio.io/canonical-name"], labels["app.kubernetes.io/name"], labels["app"], workload)
	version = cmp.Or(labels["service.istio.io/canonical-revision"], labels["app.kubernetes.io/version"], labels["version"], "latest")
	return app, version
}
