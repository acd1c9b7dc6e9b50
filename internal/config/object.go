// Package config holds users' objects: decoded once, typed, immutable.
//
// In: YAML or JSON (Decode), or typed objects from an API server. Out: Object
// and Set. Imports: istio.io/api and Kubernetes types, sigs.k8s.io/yaml, diag,
// memo. It checks form only (known kind, known fields); meaning is checked
// where it is used, in compile.
package config

import (
	"reflect"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
)

// Kind names a kind of object, as in YAML.
type Kind string

// The kinds that a Set can hold, and the type of Object.Spec for each.
const (
	VirtualService        Kind = "VirtualService"        // *networking/v1alpha3.VirtualService
	DestinationRule       Kind = "DestinationRule"       // *networking/v1alpha3.DestinationRule
	Gateway               Kind = "Gateway"               // *networking/v1alpha3.Gateway
	ServiceEntry          Kind = "ServiceEntry"          // *networking/v1alpha3.ServiceEntry
	Sidecar               Kind = "Sidecar"               // *networking/v1alpha3.Sidecar
	WorkloadEntry         Kind = "WorkloadEntry"         // *networking/v1alpha3.WorkloadEntry
	WorkloadGroup         Kind = "WorkloadGroup"         // *networking/v1alpha3.WorkloadGroup
	EnvoyFilter           Kind = "EnvoyFilter"           // *networking/v1alpha3.EnvoyFilter
	ProxyConfig           Kind = "ProxyConfig"           // *networking/v1beta1.ProxyConfig
	PeerAuthentication    Kind = "PeerAuthentication"    // *security/v1beta1.PeerAuthentication
	RequestAuthentication Kind = "RequestAuthentication" // *security/v1beta1.RequestAuthentication
	AuthorizationPolicy   Kind = "AuthorizationPolicy"   // *security/v1beta1.AuthorizationPolicy
	Telemetry             Kind = "Telemetry"             // *telemetry/v1alpha1.Telemetry
	MeshConfig            Kind = "MeshConfig"            // *mesh/v1alpha1.MeshConfig; at most one, key "/mesh"

	Service        Kind = "Service"        // *core/v1.Service
	Pod            Kind = "Pod"            // *core/v1.Pod
	Namespace      Kind = "Namespace"      // *core/v1.Namespace
	Node           Kind = "Node"           // *core/v1.Node
	Secret         Kind = "Secret"         // *core/v1.Secret
	ConfigMap      Kind = "ConfigMap"      // *core/v1.ConfigMap
	ServiceAccount Kind = "ServiceAccount" // *core/v1.ServiceAccount
	EndpointSlice  Kind = "EndpointSlice"  // *discovery/v1.EndpointSlice
	Deployment     Kind = "Deployment"     // *apps/v1.Deployment
)

// Object is one user's object. It is immutable once made: whoever changes it
// makes a new one. Two states of a source share the pointers of what did not
// change.
type Object struct {
	Kind        Kind
	Namespace   string // "" for objects of the cluster
	Name        string
	Labels      map[string]string
	Annotations map[string]string
	Created     time.Time // zero if unknown; the older object wins a conflict
	Generation  int64
	UID         string
	File        string // "" unless read from a file
	Line        int    // from 1, of the document's first line
	Spec        any    // see the Kind constants
	// Unhealthy is said by the status of a WorkloadEntry: condition Healthy is
	// False, or not there yet though the entry is HealthChecked.
	Unhealthy bool
	// Unread are the fields of a kind that Guards which could not be read: what
	// they may have asked for is taken in nobody's favour. Nil for other kinds, of
	// which an object that cannot be read as a whole is none.
	Unread []diag.Path
}

// Key is "namespace/name", unique within a kind.
func (o *Object) Key() string { return o.Namespace + "/" + o.Name }

// Ref names the object in diagnostics.
func (o *Object) Ref() diag.Object {
	return diag.Object{Kind: string(o.Kind), Namespace: o.Namespace, Name: o.Name, File: o.File, Line: o.Line}
}

// Before orders objects that claim the same thing: the older wins, then the
// lower key, as Istio does.
func (o *Object) Before(p *Object) bool {
	if !o.Created.Equal(p.Created) {
		return o.Created.Before(p.Created)
	}
	return o.Key() < p.Key()
}

// Set is the whole state of all sources at one moment. It is immutable and
// cheap to copy; the zero Set is empty.
type Set struct {
	kinds map[Kind]memo.Table[*Object]
}

// Of returns the objects of a kind by Key.
func (s Set) Of(k Kind) memo.Table[*Object] { return s.kinds[k] }

// With returns a set in which o stands, replacing one of its kind and key.
func (s Set) With(o *Object) Set { return s.put(o.Kind, s.kinds[o.Kind].With(o.Key(), o)) }

// Without returns a set that lacks the object.
func (s Set) Without(k Kind, key string) Set { return s.put(k, s.kinds[k].Without(key)) }

func (s Set) put(k Kind, t memo.Table[*Object]) Set {
	if s.kinds[k] == t {
		return s
	}
	kinds := make(map[Kind]memo.Table[*Object], len(s.kinds)+1)
	for kind, table := range s.kinds {
		kinds[kind] = table
	}
	kinds[k] = t
	return Set{kinds: kinds}
}

// Equal reports whether both sets hold the same objects by identity.
func (s Set) Equal(o Set) bool {
	for k := range s.kinds {
		if !s.kinds[k].Equal(o.kinds[k]) {
			return false
		}
	}
	for k := range o.kinds {
		if !s.kinds[k].Equal(o.kinds[k]) {
			return false
		}
	}
	return true
}

// Equal reports whether both objects say the same, wherever in a file they
// stand.
func (o *Object) Equal(p *Object) bool {
	if o == p {
		return true
	}
	a, b := *o, *p
	a.Spec, b.Spec, a.Line, b.Line = nil, nil, 0, 0
	if !reflect.DeepEqual(a, b) {
		return false
	}
	if m, ok := o.Spec.(proto.Message); ok {
		n, ok := p.Spec.(proto.Message)
		return ok && proto.Equal(m, n)
	}
	return reflect.DeepEqual(o.Spec, p.Spec)
}
