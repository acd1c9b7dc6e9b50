package compile

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	mesh "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	istiotype "istio.io/api/type/v1beta1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/config"
)

// A world is made of numbered services in namespaces of ten: each with a slice
// of endpoints and its pods; a tenth has a VirtualService and a
// DestinationRule.

func namespaceOf(i int) string { return "ns" + strconv.Itoa(i/10) }

func nameOf(i int) string { return "svc" + strconv.Itoa(i) }

func object(k config.Kind, ns, name string, spec any) *config.Object {
	return &config.Object{Kind: k, Namespace: ns, Name: name, Spec: spec, Created: time.Unix(1_700_000_000, 0)}
}

func newService(i int, ports ...int32) *config.Object {
	if len(ports) == 0 {
		ports = []int32{80}
	}
	spec := core.ServiceSpec{ClusterIP: fmt.Sprintf("10.%d.%d.%d", 96+i>>16, i>>8&255, i&255), Selector: map[string]string{"app": nameOf(i)}}
	for _, p := range ports {
		spec.Ports = append(spec.Ports, core.ServicePort{Name: "http-" + strconv.Itoa(int(p)), Port: p})
	}
	return object(config.Service, namespaceOf(i), nameOf(i), &core.Service{Spec: spec})
}

func newSlice(i, endpoints int, ready bool) *config.Object {
	s := &discovery.EndpointSlice{AddressType: discovery.AddressTypeIPv4, Ports: []discovery.EndpointPort{{Name: new("http-80"), Port: new(int32(8080))}}}
	for j := range endpoints {
		s.Endpoints = append(s.Endpoints, discovery.Endpoint{
			Addresses: []string{address(i, j)}, Conditions: discovery.EndpointConditions{Ready: new(ready || j > 0)},
			TargetRef: &core.ObjectReference{Kind: "Pod", Name: podOf(i, j)},
		})
	}
	o := object(config.EndpointSlice, namespaceOf(i), nameOf(i)+"-a", s)
	o.Labels = map[string]string{discovery.LabelServiceName: nameOf(i)}
	return o
}

func address(i, j int) string { return fmt.Sprintf("10.%d.%d.%d", j, i>>8&255, i&255) }

func podOf(i, j int) string { return nameOf(i) + "-" + strconv.Itoa(j) }

func newPod(i, j int, version string) *config.Object {
	o := object(config.Pod, namespaceOf(i), podOf(i, j), &core.Pod{
		ObjectMeta: meta.ObjectMeta{OwnerReferences: []meta.OwnerReference{{Kind: "ReplicaSet", Name: nameOf(i) + "-" + version + "-abc"}}},
		Spec:       core.PodSpec{ServiceAccountName: nameOf(i), NodeName: "node" + strconv.Itoa(j%3)},
		Status:     core.PodStatus{PodIP: address(i, j)},
	})
	o.Labels = map[string]string{"app": nameOf(i), "version": version, "pod-template-hash": "abc"}
	o.Annotations = map[string]string{"sidecar.istio.io/status": "{}"}
	return o
}

func newNode(i int, zone string) *config.Object {
	o := object(config.Node, "", "node"+strconv.Itoa(i), &core.Node{})
	o.Labels = map[string]string{"topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": zone}
	return o
}

func newVirtualService(i int, weight int32) *config.Object {
	to := func(subset string, w int32) *networking.HTTPRouteDestination {
		return &networking.HTTPRouteDestination{Destination: &networking.Destination{Host: nameOf(i), Subset: subset}, Weight: w}
	}
	return object(config.VirtualService, namespaceOf(i), nameOf(i), &networking.VirtualService{
		Hosts: []string{nameOf(i)},
		Http: []*networking.HTTPRoute{
			{
				Match: []*networking.HTTPMatchRequest{{Uri: &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: "/canary"}}}},
				Route: []*networking.HTTPRouteDestination{to("v2", 0)}, Timeout: durationpb.New(3 * time.Second),
			},
			{Route: []*networking.HTTPRouteDestination{to("v1", 100-weight), to("v2", weight)}},
		},
	})
}

func newRule(i int, subsets ...string) *config.Object {
	r := &networking.DestinationRule{Host: nameOf(i), TrafficPolicy: &networking.TrafficPolicy{
		OutlierDetection: &networking.OutlierDetection{Interval: durationpb.New(time.Second)},
	}}
	for _, s := range subsets {
		r.Subsets = append(r.Subsets, &networking.Subset{Name: s, Labels: map[string]string{"version": s}})
	}
	return object(config.DestinationRule, namespaceOf(i), nameOf(i), r)
}

func newPolicy(i int, mode security.PeerAuthentication_MutualTLS_Mode) *config.Object {
	return object(config.PeerAuthentication, namespaceOf(i), nameOf(i), &security.PeerAuthentication{
		Selector: &istiotype.WorkloadSelector{MatchLabels: map[string]string{"app": nameOf(i)}},
		Mtls:     &security.PeerAuthentication_MutualTLS{Mode: mode},
	})
}

func newGateway(i int, port uint32, protocol string) *config.Object {
	return object(config.Gateway, namespaceOf(i), nameOf(i), &networking.Gateway{
		Selector: map[string]string{"istio": "ingressgateway"},
		Servers:  []*networking.Server{{Port: &networking.Port{Number: port, Name: "p", Protocol: protocol}, Hosts: []string{nameOf(i) + ".example.com"}}},
	})
}

func newMeshConfig(trustDomain string) *config.Object {
	return object(config.MeshConfig, "", "mesh", &mesh.MeshConfig{TrustDomain: trustDomain})
}

// newWorld gives n services with four endpoints each.
func newWorld(n int) (set config.Set) {
	for i := range 3 {
		set = set.With(newNode(i, "zone"+strconv.Itoa(i)))
	}
	for i := range n {
		set = set.With(newService(i)).With(newSlice(i, 4, true))
		for j := range 4 {
			set = set.With(newPod(i, j, "v"+strconv.Itoa(1+j%2)))
		}
		if i%10 == 0 {
			set = set.With(newRule(i, "v1", "v2")).With(newVirtualService(i, 10))
		}
	}
	return set
}

// edit changes one thing of the world at random; many edits break references,
// and mend them again.
func edit(rnd *rand.Rand, set config.Set, n int) config.Set {
	i := rnd.IntN(n)
	key := namespaceOf(i) + "/" + nameOf(i)
	switch rnd.IntN(14) {
	case 0:
		return set.Without(config.Service, key)
	case 1:
		return set.With(newService(i, 80, 81))
	case 2:
		return set.With(newService(i))
	case 3:
		return set.With(newSlice(i, rnd.IntN(5), rnd.IntN(2) == 0))
	case 4:
		return set.Without(config.EndpointSlice, key+"-a")
	case 5:
		return set.With(newPod(i, rnd.IntN(4), "v"+strconv.Itoa(rnd.IntN(3))))
	case 6:
		return set.Without(config.Pod, key+"-"+strconv.Itoa(rnd.IntN(4)))
	case 7:
		return set.With(newVirtualService(i, int32(rnd.IntN(130)-10)))
	case 8:
		return set.Without(config.VirtualService, key)
	case 9:
		return set.With(newRule(i, []string{"v1", "v2", "v3"}[rnd.IntN(2):2+rnd.IntN(2)]...))
	case 10:
		return set.Without(config.DestinationRule, key)
	case 11:
		return set.With(newPolicy(i, security.PeerAuthentication_MutualTLS_Mode(rnd.IntN(4)))).With(newNode(rnd.IntN(3), "zone"+strconv.Itoa(rnd.IntN(9))))
	case 12:
		return set.With(newGateway(i, uint32(80+rnd.IntN(2)), []string{"HTTP", "TCP", "HTTPS"}[rnd.IntN(3)]))
	default:
		return editRare(rnd, set, i)
	}
}

func editRare(rnd *rand.Rand, set config.Set, i int) config.Set {
	switch rnd.IntN(4) {
	case 0:
		return set.With(newMeshConfig("td" + strconv.Itoa(rnd.IntN(3))))
	case 1:
		return set.Without(config.MeshConfig, "/mesh")
	case 2:
		return set.With(object(config.AuthorizationPolicy, namespaceOf(i), nameOf(i), &security.AuthorizationPolicy{}))
	default:
		return set.Without(config.AuthorizationPolicy, namespaceOf(i)+"/"+nameOf(i))
	}
}
