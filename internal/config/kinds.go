package config

import (
	"maps"
	"slices"

	meshv1 "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	networkingbeta "istio.io/api/networking/v1beta1"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"google.golang.org/protobuf/proto"
)

// typed says how the objects of a kind are decoded: exactly one of message
// (the spec is a protobuf message) and object (a whole Kubernetes type) is set.
type typed struct {
	groups  []string // API groups, "" for core
	message func() proto.Message
	object  func() any
	cluster bool // has no namespace
}

const (
	networkingGroup = "networking.istio.io"
	securityGroup   = "security.istio.io"
)

// known lists every kind that is decoded.
var known = map[Kind]typed{
	VirtualService:        {groups: []string{networkingGroup}, message: func() proto.Message { return &networking.VirtualService{} }},
	DestinationRule:       {groups: []string{networkingGroup}, message: func() proto.Message { return &networking.DestinationRule{} }},
	Gateway:               {groups: []string{networkingGroup}, message: func() proto.Message { return &networking.Gateway{} }},
	ServiceEntry:          {groups: []string{networkingGroup}, message: func() proto.Message { return &networking.ServiceEntry{} }},
	Sidecar:               {groups: []string{networkingGroup}, message: func() proto.Message { return &networking.Sidecar{} }},
	WorkloadEntry:         {groups: []string{networkingGroup}, message: func() proto.Message { return &networking.WorkloadEntry{} }},
	WorkloadGroup:         {groups: []string{networkingGroup}, message: func() proto.Message { return &networking.WorkloadGroup{} }},
	EnvoyFilter:           {groups: []string{networkingGroup}, message: func() proto.Message { return &networking.EnvoyFilter{} }},
	ProxyConfig:           {groups: []string{networkingGroup}, message: func() proto.Message { return &networkingbeta.ProxyConfig{} }},
	PeerAuthentication:    {groups: []string{securityGroup}, message: func() proto.Message { return &security.PeerAuthentication{} }},
	RequestAuthentication: {groups: []string{securityGroup}, message: func() proto.Message { return &security.RequestAuthentication{} }},
	AuthorizationPolicy:   {groups: []string{securityGroup}, message: func() proto.Message { return &security.AuthorizationPolicy{} }},
	Telemetry:             {groups: []string{"telemetry.istio.io"}, message: func() proto.Message { return &telemetry.Telemetry{} }},
	MeshConfig:            {groups: []string{"mesh.istio.io", "install.istio.io"}, message: func() proto.Message { return &meshv1.MeshConfig{} }, cluster: true},

	Service:        {groups: []string{""}, object: func() any { return &corev1.Service{} }},
	Pod:            {groups: []string{""}, object: func() any { return &corev1.Pod{} }},
	Namespace:      {groups: []string{""}, object: func() any { return &corev1.Namespace{} }, cluster: true},
	Node:           {groups: []string{""}, object: func() any { return &corev1.Node{} }, cluster: true},
	Secret:         {groups: []string{""}, object: func() any { return &corev1.Secret{} }},
	ConfigMap:      {groups: []string{""}, object: func() any { return &corev1.ConfigMap{} }},
	ServiceAccount: {groups: []string{""}, object: func() any { return &corev1.ServiceAccount{} }},
	EndpointSlice:  {groups: []string{"discovery.k8s.io"}, object: func() any { return &discoveryv1.EndpointSlice{} }},
	Deployment:     {groups: []string{"apps"}, object: func() any { return &appsv1.Deployment{} }},
}

// Kinds are all kinds that a Set can hold, in the order of their names.
func Kinds() []Kind { return slices.Sorted(maps.Keys(known)) }

func (t typed) hasGroup(group string) bool {
	for _, g := range t.groups {
		if g == group {
			return true
		}
	}
	return false
}

// IstioKinds are the kinds of Istio's API that a cluster stores, sorted.
func IstioKinds() (out []Kind) {
	for k, t := range known {
		if t.message != nil && !t.cluster {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// Group is the API group of a kind; "" for Kubernetes' core and for kinds that
// are not known.
func (k Kind) Group() string {
	if t, ok := known[k]; ok {
		return t.groups[0]
	}
	return ""
}
