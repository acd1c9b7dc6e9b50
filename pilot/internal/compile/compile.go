// Package compile gives users' objects their meaning: config.Set in,
// model.Mesh and findings out.
//
// It is pure: no clock, context, logger or I/O, and nothing it is given is
// written to. A Compiler keeps the derived tables of the last Set, so that an
// edit recomputes only what reads it; the result equals one from nothing.
// Imports: istio.io/api and Kubernetes types, config, diag, memo, model,
// hostname, spiffe, apis (the support ledger) and gateway; no Envoy types.
package compile

import (
	"reflect"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// Result is what a Set means. Findings are by "Kind/namespace/name"; an object
// of which nothing is to be said has none.
type Result struct {
	Mesh     *model.Mesh
	Findings memo.Table[*Findings]
}

// Findings is all that is said about one object, in the order of its fields.
type Findings struct {
	Object diag.Object
	List   []diag.Diagnostic
}

// Compiler turns one Set after another into its Result. It belongs to one
// goroutine; Results may be shared. Make it with New.
type Compiler struct {
	graph memo.Graph
	// discovery leaves out what MeshConfig's discoverySelectors do not select.
	discovery config.Discovery
	inputs    map[config.Kind]*memo.Input[*config.Object]
	settings  *memo.Input[*model.Settings]
	// entryRules has an entry, with key "", where MeshConfig has any for sidecars.
	entryRules *memo.Input[*entryRules]
	ruledBy    *config.Object // the MeshConfig that they are of
	// anyPod has an entry, with key "", while the set holds Pods.
	anyPod *memo.Input[bool]
	found  []*memo.Cell[*Findings]

	registry
	nodes *memo.Derived[*config.Object, *model.Locality]
	pods  *kind[model.Workload]
	// workloads are pods, and processes outside that joined.
	workloads *memo.Union[*model.Workload]
	// namespaces are what namespaces say for their services.
	namespaces *kind[namespace]
	secrets    *kind[model.Secret]
	// secretNames are secrets by name alone.
	secretNames *memo.Grouped[*model.Secret]
	gateways    *kind[model.Gateway]
	openPorts   *memo.Grouped[*model.Gateway]        // by gatewayDoors
	passers     *memo.Derived[*model.Gateway, bool]  // selectors of those that pass mesh mTLS on
	selectors   *memo.Derived[*model.Gateway, bool]  // of Gateways, as FormatLabels gives them
	edges       *memo.Derived[*model.Workload, bool] // "selector|namespace" in which it selects pods
	edgesOf     *memo.Grouped[bool]                  // edges by selector
	policies    *kind[model.Policy]
	ruled       *memo.Grouped[*model.Policy]       // by host
	subsets     *memo.Derived[*model.Policy, bool] // by "host|subset"
	wildcards   *memo.Derived[*model.Policy, bool] // those of hosts with "*"
	roots       *memo.Grouped[*config.Object]      // VirtualServices by the delegate that they name
	virtual     *kind[model.VirtualService]
	claims      *memo.Grouped[*model.VirtualService] // by host claimed in the mesh
	passing     *memo.Grouped[*model.VirtualService] // by Gateway that it takes bytes from
	doors       *memo.Grouped[*model.VirtualService] // by "gateway|host"
	sidecars    *kind[model.Sidecar]
	sidecarsIn  *memo.Grouped[*model.Sidecar] // by namespace
	peerAuth    *kind[model.PeerAuth]
	peers       *memo.Grouped[*model.PeerAuth] // by scope

	filters *kind[model.EnvoyFilter]
	auth    *kind[model.Authorization]
	tokens  *kind[model.TokenPolicy]
	// proxies are ProxyConfigs, proxyLevels the same by namespace.
	proxies     *kind[proxyLevel]
	proxyLevels *memo.Grouped[*proxyLevel]

	telemetry *kind[model.Telemetry]
	reported  *memo.Grouped[*model.Telemetry] // by scope

	last         Result
	meshed       *model.Settings         // of the last Result
	said         []memo.Table[*Findings] // of each cell of found, at the last Result
	saidSettings memo.Table[*Findings]   // of MeshConfig, at the last Result
}

// Mesh compiles set from nothing.
func Mesh(set config.Set) Result { return New().Mesh(set) }

// Mesh compiles set. What did not change keeps its pointer in the tables.
func (c *Compiler) Mesh(set config.Set) Result {
	set = c.discovery.Set(set)
	settings, said := compileSettings(set.Of(config.MeshConfig))
	if c.meshed == nil || !reflect.DeepEqual(*c.meshed, *settings) {
		c.meshed = settings
	}
	c.settings.Set(memo.Table[*model.Settings]{}.With(settingsKey, c.meshed))
	c.setEntryRules(set)
	c.anyPod.Set(memo.Table[bool]{})
	if set.Of(config.Pod).Len() > 0 {
		c.anyPod.Set(memo.Table[bool]{}.With("", true))
	}
	for k, in := range c.inputs {
		in.Set(set.Of(k))
	}
	c.graph.Run()
	said = c.checkDefaultCollectors(set.Of(config.MeshConfig), said)
	c.last = Result{Mesh: c.mesh(), Findings: c.findings(said)}
	return c.last
}

// mesh gathers the tables; an unchanged mesh keeps its pointer.
func (c *Compiler) mesh() *model.Mesh {
	m := &model.Mesh{
		Settings:        c.meshed,
		Services:        c.services.Table(),
		Endpoints:       c.endpoints.Table(),
		Policies:        c.policies.values.Table(),
		VirtualServices: c.virtual.values.Table(),
		Gateways:        c.gateways.values.Table(),
		PeerAuth:        c.peerAuth.values.Table(),
		EnvoyFilters:    c.filters.values.Table(),
		Workloads:       c.workloads.Table(),
		Authorizations:  c.auth.values.Table(),
		TokenPolicies:   c.tokens.values.Table(),
		Secrets:         c.secrets.values.Table(),
		Sidecars:        c.sidecars.values.Table(),
		Telemetries:     c.telemetry.values.Table(),
	}
	if c.last.Mesh != nil && *c.last.Mesh == *m {
		return c.last.Mesh
	}
	return m
}

// findings merges those of all kinds at a cost that follows the changes.
func (c *Compiler) findings(settings memo.Table[*Findings]) memo.Table[*Findings] {
	for k, f := range settings.All() {
		if was, ok := c.saidSettings.Get(k); ok && reflect.DeepEqual(*was, *f) {
			settings = settings.With(k, was)
		}
	}
	all := apply(c.last.Findings, c.saidSettings, settings)
	c.saidSettings = settings
	for i, cell := range c.found {
		all = apply(all, c.said[i], cell.Table())
		c.said[i] = cell.Table()
	}
	return all
}

// apply returns all after a part of it went from before to now.
func apply(all, before, now memo.Table[*Findings]) memo.Table[*Findings] {
	for ch := range memo.Diff(before, now) {
		if ch.InNew {
			all = all.With(ch.Key, ch.New)
		} else {
			all = all.Without(ch.Key)
		}
	}
	return all
}
