package pilot

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/authz"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/compile"
	"github.com/weftmesh/weft/pilot/internal/view"
)

// Question is a call about which policies are asked.
type Question struct {
	// From is a pod, a Deployment, a SPIFFE URI or an address; To a pod, a
	// Deployment or a service. Names are [NAMESPACE/]NAME.
	From, To string
	// Namespace of names that have none.
	Namespace    string
	Method, Path string
	// Host asked for; empty: To.
	Host string
	// Headers by name in any case.
	Headers map[string][]string
	// Token is a JSON web token, taken as right; empty: none.
	Token string
	// Port of the pod; 0: the first that a service targets.
	Port uint32
}

// Explanation answers a Question.
type Explanation struct {
	From string `json:"from"` // who calls, as the server knows it
	To   string `json:"to"`   // the pod, or the Deployment that would make it
	Port uint32 `json:"port"`
	authz.Verdict
	// Doubts are why the server's proxy may do otherwise than its policies say; with
	// any the verdict is not vouched for.
	Doubts []authz.Doubt `json:"doubts,omitempty"`
}

// Explain says what the policies of a set make of a call. It has no effect. An
// error names what there is not.
func Explain(set config.Set, q Question) (Explanation, error) {
	set = config.Discovered(set)
	e := explainer{set: set, mesh: compileMesh(set).Mesh}
	for _, w := range e.mesh.Workloads.All() {
		e.pods = append(e.pods, *w)
	}
	e.pods = append(e.pods, compile.Planned(set)...) // of a pod more is known
	to, port, err := e.server(q)
	if err != nil {
		return Explanation{}, err
	}
	port = cmp.Or(q.Port, port)
	doors := of(q.Host, e.doors(&to, port))
	mode := view.MTLSMode(e.mesh, &to, port)
	if len(doors) > 0 {
		mode = model.MTLSPermissive // a PeerAuthentication is for sidecars
	}
	call, from, err := e.caller(q, mode)
	if err != nil {
		return Explanation{}, err
	}
	if call.Identity != "" && !provable(doors) {
		call.Identity, from = "", from+", which proves no identity there"
	}
	call.Port, call.Method, call.Host, call.Headers = port, strings.ToUpper(q.Method), cmp.Or(q.Host, q.To), map[string][]string{}
	call.Path = authz.Normal(q.Path, e.mesh.Settings.PathFormOf(&to))
	call.Bytes = call.Method == "TCP"
	for name, values := range q.Headers {
		call.Headers[strings.ToLower(name)] = values
	}
	call.Remote = Remote(call.Source, strings.Join(call.Headers["x-forwarded-for"], ","))
	if len(to.Addresses) > 0 {
		call.Destination, _ = netip.ParseAddr(to.Addresses[0])
	}
	out := Explanation{From: from, To: podTitle(to), Port: port, Doubts: e.doubts(&to, doors)}
	if len(doors) > 0 && !slices.ContainsFunc(doors, asks) { // nor is a token
		out.Verdict = authz.Verdict{Allowed: true, Reason: passes, Policies: []authz.Policy{}}
		return out, nil
	}
	if call.Claims, err = e.claims(q.Token, to); err != nil {
		return Explanation{}, err
	}
	out.Verdict = judge(e.mesh, to, call)
	if mode == model.MTLSStrict && call.Identity == "" {
		out.Allowed, out.By, out.Rule, out.Reason = false, "", 0, "the port's mTLS mode is STRICT, and the caller has proven no identity"
	}
	return out, nil
}

// Judge says what the policies of a set make of a call to a pod.
func Judge(set config.Set, to model.Workload, call authz.Call) authz.Verdict {
	return judge(compileMesh(set).Mesh, to, call)
}

// Remote is whom a request to a sidecar is from: as gateways and proxies before
// it have written last, else who dialled.
func Remote(source netip.Addr, forwarded string) netip.Addr {
	last := forwarded[strings.LastIndexByte(forwarded, ',')+1:]
	if a, err := netip.ParseAddr(strings.TrimSpace(last)); err == nil {
		return a
	}
	return source
}

func judge(mesh *model.Mesh, to model.Workload, call authz.Call) authz.Verdict {
	var all []*model.Authorization
	for _, a := range mesh.Authorizations.All() {
		if model.Guarded(a, mesh.Settings.RootNamespace, &to) {
			all = append(all, a)
		}
	}
	return authz.Explain(all, call, func(name string) bool {
		a := mesh.Settings.Authorizer(name)
		if a == nil || to.Proxyless || call.Bytes && !a.GRPC {
			return false
		}
		s := a.Find(mesh.Services.Get)
		if s == nil {
			return false
		}
		_, ok := a.Reaches(s)
		return ok
	})
}

type explainer struct {
	set  config.Set
	mesh *model.Mesh
	pods []model.Workload
}

// pod finds a pod, or what a Deployment would make, by [NAMESPACE/]NAME.
func (e *explainer) pod(name, namespace string) (model.Workload, bool) {
	namespace, name = split(name, namespace)
	for _, by := range []func(model.Workload) string{
		func(w model.Workload) string { return w.Name },
		func(w model.Workload) string { return w.Controller },
	} {
		for _, w := range e.pods {
			if w.Namespace == namespace && by(w) == name {
				return w, true
			}
		}
	}
	return model.Workload{}, false
}

func split(name, namespace string) (string, string) {
	if ns, short, ok := strings.Cut(name, "/"); ok {
		return ns, short
	}
	return namespace, name
}

// server finds whom a call is for, and the port at which services lead to it.
func (e *explainer) server(q Question) (to model.Workload, port uint32, err error) {
	to, found := e.pod(q.To, q.Namespace)
	namespace, name := split(q.To, q.Namespace)
	for _, s := range e.mesh.Services.All() {
		selects := func(w model.Workload) bool {
			return w.Namespace == s.Namespace && s.Selects(w.Labels)
		}
		if !found && (s.Namespace == namespace && s.Name == name || s.Host == q.To) {
			at := slices.IndexFunc(e.pods, selects)
			if at < 0 {
				return to, 0, fmt.Errorf("service %s/%s selects no pod", s.Namespace, s.Name)
			}
			to, found = e.pods[at], true
			port = target(s, to)
			break
		}
		if found && port == 0 && selects(to) {
			port = target(s, to)
		}
	}
	if !found {
		return to, 0, fmt.Errorf("%s/%s: there is no such pod, Deployment or service", namespace, name)
	}
	return to, port, nil
}

// target is the pod's port behind the first port of a service.
func target(s *model.Service, w model.Workload) uint32 {
	for _, p := range s.Ports {
		if p.Protocol != model.ProtocolUDP {
			return cmp.Or(w.Ports[p.TargetName], p.Target, p.Number)
		}
	}
	return 0
}

// caller is who calls, as a server with a mode knows it.
func (e *explainer) caller(q Question, mode model.MTLSMode) (call authz.Call, name string, err error) {
	if call.Source, err = netip.ParseAddr(q.From); err == nil {
		return call, q.From, nil
	}
	if strings.HasPrefix(q.From, "spiffe://") {
		call.Identity = q.From
		return call, q.From, nil
	}
	w, ok := e.pod(q.From, q.Namespace)
	if !ok {
		return call, "", fmt.Errorf("%s: there is no such pod or Deployment; it may be a SPIFFE URI or an IP address too", q.From)
	}
	if len(w.Addresses) > 0 {
		call.Source, _ = netip.ParseAddr(w.Addresses[0])
	}
	name = podTitle(w) + ", which has no identity"
	planned := w.Name == "" && w.Labels["sidecar.istio.io/inject"] != "false"
	if (w.InMesh || w.Proxyless || planned) && mode != model.MTLSDisable {
		call.Identity = "spiffe://" + e.mesh.Settings.TrustDomain + "/ns/" + w.Namespace + "/sa/" + cmp.Or(w.ServiceAccount, "default")
		name = call.Identity
	}
	return call, name, nil
}

var errToken = errors.New("the token is no JSON web token (three parts with dots between them, the second a JSON object in base64url)")

// claims are those of a token of an issuer that some RequestAuthentication of the
// server has; those of another are nobody's.
func (e *explainer) claims(token string, to model.Workload) (map[string]any, error) {
	if token == "" {
		return nil, nil
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errToken
	}
	var claims map[string]any
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(raw, &claims) != nil {
		return nil, errToken
	}
	for _, p := range e.mesh.TokenPolicies.All() {
		if !model.Guarded(p, e.mesh.Settings.RootNamespace, &to) {
			continue
		}
		for _, issuer := range p.Issuers {
			if issuer.Issuer == "" || issuer.Issuer == claims["iss"] {
				return spread(claims, issuer.SpaceDelimited), nil
			}
		}
	}
	return nil, fmt.Errorf("no RequestAuthentication for %s takes tokens of issuer %q: the request would be answered 401", podTitle(to), fmt.Sprint(claims["iss"]))
}

// spread makes lists of claims that are texts with spaces.
func spread(claims map[string]any, names []string) map[string]any {
	for _, name := range names {
		if text, ok := claims[name].(string); ok {
			var list []any
			for _, word := range strings.Fields(text) {
				list = append(list, word)
			}
			claims[name] = list
		}
	}
	return claims
}
