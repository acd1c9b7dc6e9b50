package model

// EnvoyFilter is a list of edits of Envoy's own configuration. What the bodies
// mean is known to the stage that applies them (pilot/internal/patch); here
// they are JSON.
type EnvoyFilter struct {
	Namespace, Name string
	Origin          Origin
	Rank            string
	Priority        int32
	// Selectors are the labels of the proxies that it is for: those that answer
	// to any of them. None: every proxy of the namespace, or of the mesh if
	// that is the root namespace.
	Selectors []map[string]string
	Patches   []Patch
}

// Key is "namespace/name".
func (f *EnvoyFilter) Key() string { return f.Namespace + "/" + f.Name }

// Guards says for whom it is, as those of security policies do.
func (f *EnvoyFilter) Guards() (namespace string, selectors []map[string]string) {
	return f.Namespace, f.Selectors
}

// ApplyTo is what a patch edits, as in YAML.
type ApplyTo string

// The parts of Envoy's configuration that can be patched.
const (
	ToListener       ApplyTo = "LISTENER"
	ToListenerFilter ApplyTo = "LISTENER_FILTER"
	ToFilterChain    ApplyTo = "FILTER_CHAIN"
	ToNetworkFilter  ApplyTo = "NETWORK_FILTER"
	ToHTTPFilter     ApplyTo = "HTTP_FILTER"
	ToRouteTable     ApplyTo = "ROUTE_CONFIGURATION"
	ToVirtualHost    ApplyTo = "VIRTUAL_HOST"
	ToRoute          ApplyTo = "HTTP_ROUTE"
	ToCluster        ApplyTo = "CLUSTER"
	ToExtension      ApplyTo = "EXTENSION_CONFIG"
)

// Operation is what a patch does, as in YAML.
type Operation string

// The operations of patches.
const (
	OpMerge        Operation = "MERGE"
	OpMergeReplace Operation = "MERGE_AND_REPLACE_LIST"
	OpAdd          Operation = "ADD"
	OpRemove       Operation = "REMOVE"
	OpInsertBefore Operation = "INSERT_BEFORE"
	OpInsertAfter  Operation = "INSERT_AFTER"
	OpInsertFirst  Operation = "INSERT_FIRST"
	OpReplace      Operation = "REPLACE"
)

// FilterClass says where an HTTP filter that is added belongs.
type FilterClass string

// The classes of filters; the zero value says nothing.
const (
	ClassAuthn FilterClass = "AUTHN"
	ClassAuthz FilterClass = "AUTHZ"
	ClassStats FilterClass = "STATS"
)

// Patch is one edit.
type Patch struct {
	Index int // in the object's spec.configPatches
	To    ApplyTo
	Op    Operation
	Class FilterClass
	// Role is the side that it is for; empty: any.
	Role Role
	// Metadata of the proxies that it is for; nil: any.
	Metadata map[string]string
	// Value is the body as JSON; empty only for OpRemove.
	Value string

	Listener *ListenerPick // nil: any
	Table    *TablePick    // nil: any
	Cluster  *ClusterPick  // nil: any
}

// ListenerPick selects a listener and what is in it. Zero fields select any.
type ListenerPick struct {
	Name   string
	Port   uint32
	Filter string // listener filter
	Chain  *ChainPick
}

// ChainPick selects filter chains, and a filter in them. Zero fields select
// any.
type ChainPick struct {
	Name, SNI, Transport string
	Protocols            []string // all of them
	Port                 uint32
	Network, HTTP        string // filters' names
}

// TablePick selects route tables, virtual hosts and routes. Zero fields select
// any.
type TablePick struct {
	Name, PortName, Gateway string
	Port                    uint32
	Host                    *HostPick
}

// HostPick selects virtual hosts.
type HostPick struct {
	Name, Domain string
	Route        *RoutePick
}

// RoutePick selects routes; Action is "ROUTE", "REDIRECT", "DIRECT_RESPONSE"
// or empty for any.
type RoutePick struct{ Name, Action string }

// ClusterPick selects clusters. Zero fields select any; a Name decides alone.
type ClusterPick struct {
	Name, Service, Subset string
	Port                  uint32
}
