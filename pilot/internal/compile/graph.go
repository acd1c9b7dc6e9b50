package compile

import (
	"reflect"
	"slices"
	"strings"

	"github.com/weftmesh/weft/gateway"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// New returns a Compiler that has seen nothing. Its graph is wired here, each
// table after those that it reads.
func New() *Compiler {
	c := &Compiler{inputs: map[config.Kind]*memo.Input[*config.Object]{}}
	c.settings = memo.NewInput[*model.Settings](&c.graph)
	c.anyPod = memo.NewInput[bool](&c.graph)
	c.entryRules = memo.NewInput[*entryRules](&c.graph)
	c.nodes = memo.Map(&c.graph, c.input(config.Node), nodeLocality, memo.Same(equal[*model.Locality]))

	c.pods = addKind(c, config.Pod, compilePod, func(w *model.Workload) string { return w.Namespace + "/" + w.Name })
	c.namespaces = addKind(c, config.Namespace, compileNamespace, func(n *namespace) string { return n.name })
	c.register()

	c.secrets = addKind(c, config.Secret, compileSecret, func(s *model.Secret) string { return s.Namespace + "/" + s.Name })
	c.secretNames = memo.Group(&c.graph, &c.secrets.values.Cell, func(_ string, s *model.Secret) []string {
		return slices.Compact([]string{s.Name, strings.TrimSuffix(s.Name, "-cacert")})
	})
	c.gateways = addKind(c, config.Gateway, func(o *config.Object, _ scope, d *diag.List) *model.Gateway {
		return gateway.Compile(o, d)
	}, (*model.Gateway).Key)
	c.selectors = memo.Flat(&c.graph, &c.gateways.values.Cell, gatewaySelector)
	c.passers = memo.Flat(&c.graph, &c.gateways.values.Cell, passingGateways)
	c.workloads = c.joined()
	c.edges = memo.Flat(&c.graph, &c.pods.values.Cell, edgeNamespaces(c))
	c.edgesOf = memo.Group(&c.graph, &c.edges.Cell, func(key string, _ bool) []string { return []string{cutEdge(key)} })
	c.openPorts = memo.Group(&c.graph, &c.gateways.values.Cell, gatewayDoors)
	c.gateways.check = checkGateway

	c.policies = addKind(c, config.DestinationRule, compileDestinationRule, func(p *model.Policy) string { return p.Namespace + "/" + p.Name })
	c.ruled = memo.Group(&c.graph, &c.policies.values.Cell, policyHost)
	c.policies.check = checkPolicy
	c.subsets = memo.Flat(&c.graph, &c.policies.values.Cell, subsetsOf(false))
	c.wildcards = memo.Flat(&c.graph, &c.policies.values.Cell, subsetsOf(true))

	c.roots = memo.Group(&c.graph, c.input(config.VirtualService), delegateKeys)
	c.virtual = addKind(c, config.VirtualService, compileVirtualService, func(v *model.VirtualService) string { return v.Namespace + "/" + v.Name })
	c.claims = memo.Group(&c.graph, &c.virtual.values.Cell, meshHosts)
	c.doors = memo.Group(&c.graph, &c.virtual.values.Cell, gatewayHosts)
	c.passing = memo.Group(&c.graph, &c.virtual.values.Cell, bytesGateways)
	c.virtual.check = checkVirtualService

	c.sidecars = addKind(c, config.Sidecar, compileSidecar, (*model.Sidecar).Key)
	c.sidecarsIn = memo.Group(&c.graph, &c.sidecars.values.Cell, func(_ string, s *model.Sidecar) []string { return []string{s.Namespace} })
	c.sidecars.check = checkSidecar

	c.peerAuth = addKind(c, config.PeerAuthentication, compilePeerAuthentication, func(p *model.PeerAuth) string { return p.Namespace + "/" + p.Name })
	c.peers = memo.Group(&c.graph, &c.peerAuth.values.Cell, peerScope)
	c.peerAuth.check = checkPeerAuth
	c.filters = addKind(c, config.EnvoyFilter, compileEnvoyFilter, (*model.EnvoyFilter).Key)
	c.auth = addKind(c, config.AuthorizationPolicy, compileAuthorization, (*model.Authorization).Key)
	c.auth.check = checkAuthorization
	c.proxies = addKind(c, config.ProxyConfig, compileProxyConfig, func(p *proxyLevel) string { return p.namespace + "/" + p.name })
	c.proxyLevels = memo.Group(&c.graph, &c.proxies.values.Cell, func(_ string, p *proxyLevel) []string { return []string{p.namespace} })
	c.proxies.check = checkProxyConfig
	c.input(config.KeySet) // before what reads it
	c.tokens = addKind(c, config.RequestAuthentication, compileRequestAuthentication, (*model.TokenPolicy).Key)
	c.telemetry = addKind(c, config.Telemetry, compileTelemetry, (*model.Telemetry).Key)
	c.reported = memo.Group(&c.graph, &c.telemetry.values.Cell, telemetryScope)
	c.telemetry.check = checkTelemetry
	c.sayAll()
	return c
}

// sayAll wires the findings of every kind, last of all.
func (c *Compiler) sayAll() {
	say(c, c.pods)
	say(c, c.namespaces)
	say(c, c.kube)
	say(c, c.entries)
	say(c, c.outsiders)
	say(c, c.groups)
	say(c, c.slices)
	say(c, c.secrets)
	say(c, c.gateways)
	say(c, c.policies)
	say(c, c.virtual)
	say(c, c.sidecars)
	say(c, c.peerAuth)
	say(c, c.filters)
	say(c, c.auth)
	say(c, c.tokens)
	say(c, c.proxies)
	say(c, c.telemetry)
	c.said = make([]memo.Table[*Findings], len(c.found))
}

func (c *Compiler) input(k config.Kind) *memo.Cell[*config.Object] {
	if c.inputs[k] == nil {
		c.inputs[k] = memo.NewInput[*config.Object](&c.graph)
	}
	return &c.inputs[k].Cell
}

// kind is one API kind in the graph: its objects' values, and what is said of
// them.
type kind[T any] struct {
	results *memo.Derived[*config.Object, *outcome[T]]
	values  *memo.Derived[*outcome[T], *T]
	// check gives findings that depend on other objects; nil: none.
	check func(v *T, in scope, d *diag.List)
}

// outcome of one object. A nil value: nothing of it is in force.
type outcome[T any] struct {
	object *config.Object
	value  *T
	found  []diag.Diagnostic
}

// addKind wires the tables of one kind. compile is pure; what it reads through
// its scope is recorded. Values and findings that come out equal keep their
// pointers, so that nothing downstream runs.
func addKind[T any](c *Compiler, name config.Kind, compile func(o *config.Object, in scope, d *diag.List) *T, key func(*T) string) *kind[T] {
	k := &kind[T]{}
	k.results = memo.Map(&c.graph, c.input(name), func(r *memo.Reader, _ string, o *config.Object) (*outcome[T], bool) {
		d := diag.For(o.Ref())
		reportUnsupported(o, d)
		v := compile(o, scope{r: r, c: c}, d)
		return &outcome[T]{object: o, value: v, found: d.All()}, true
	})
	k.values = memo.Flat(&c.graph, &k.results.Cell, func(_ *memo.Reader, _ string, out *outcome[T], emit memo.Emit[*T]) {
		if out.value != nil {
			emit(key(out.value), out.value)
		}
	}, memo.Same(equal[*T]))
	return k
}

// say wires the findings of a kind, after all that its check reads.
func say[T any](c *Compiler, k *kind[T]) {
	found := memo.Flat(&c.graph, &k.results.Cell, func(r *memo.Reader, _ string, out *outcome[T], emit memo.Emit[*Findings]) {
		d := diag.For(out.object.Ref())
		if k.check != nil && out.value != nil {
			k.check(out.value, scope{r: r, c: c}, d)
		}
		if list := append(out.found[:len(out.found):len(out.found)], d.All()...); len(list) > 0 {
			emit(string(out.object.Kind)+"/"+out.object.Key(), &Findings{Object: out.object.Ref(), List: list})
		}
	}, memo.Same(equal[*Findings]))
	c.found = append(c.found, &found.Cell)
}

func equal[T any](a, b T) bool { return reflect.DeepEqual(a, b) }

// scope is what a compile function may read beyond its object. Every read is
// recorded as a dependency.
type scope struct {
	r *memo.Reader
	c *Compiler
}

func (s scope) settings() *model.Settings {
	v, _ := memo.Get(s.r, &s.c.settings.Cell, settingsKey)
	return v
}

// service returns the service of a fully qualified host, or what an
// ExternalName stands for; nil if there is none.
func (s scope) service(host string) *model.Service {
	v, _ := memo.Get(s.r, &s.c.services.Cell, host)
	if v != nil && v.AliasOf != "" {
		v, _ = memo.Get(s.r, &s.c.services.Cell, v.AliasOf)
	}
	return v
}

// serviceOfKey returns the service of a key of Mesh.Services.
func (s scope) serviceOfKey(key string) (*model.Service, bool) {
	return memo.Get(s.r, &s.c.services.Cell, key)
}

// workload returns the pod's workload, nil if it is not known.
func (s scope) workload(key string) *model.Workload {
	v, _ := memo.Get(s.r, &s.c.pods.values.Cell, key)
	return v
}

// hasPods reports whether the set holds any Pod.
func (s scope) hasPods() bool {
	_, ok := memo.Get(s.r, &s.c.anyPod.Cell, "")
	return ok
}

// locality returns where a node stands.
func (s scope) locality(node string) model.Locality {
	if v, ok := memo.Get(s.r, &s.c.nodes.Cell, "/"+node); ok {
		return *v
	}
	return model.Locality{}
}

// secret returns the credential "namespace/name", nil if there is none that
// can be used.
func (s scope) secret(key string) *model.Secret {
	v, _ := memo.Get(s.r, &s.c.secrets.values.Cell, key)
	return v
}

func (s scope) hasGateway(key string) bool {
	_, ok := memo.Get(s.r, &s.c.gateways.values.Cell, key)
	return ok
}
