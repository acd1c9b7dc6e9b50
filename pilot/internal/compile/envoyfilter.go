package compile

import (
	"encoding/json"
	"regexp"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// istioVersion is the version of Istio whose API the proxies are configured
// by: what a patch's proxyVersion is compared with.
const istioVersion = "1.31.1"

// Bounds of what one patch may cost every resource that it edits.
const (
	maxPatchBody    = 256 << 10 // bytes of JSON
	maxVersionRegex = 1024      // as Istio's
)

// compileEnvoyFilter reads one EnvoyFilter. A patch that cannot be applied is
// left out and reported; what is in its body is checked where Envoy's types
// are known, in pilot/internal/patch.
//
// Source: istio.io/api networking/v1alpha3, message EnvoyFilter; the rules of
// Istio's ValidateEnvoyFilter.
func compileEnvoyFilter(o *config.Object, in scope, d *diag.List) *model.EnvoyFilter {
	spec, ok := o.Spec.(*networking.EnvoyFilter)
	if !ok {
		return nil
	}
	out := &model.EnvoyFilter{
		Namespace: o.Namespace, Name: o.Name, Origin: origin(o, "networking.istio.io", "envoy-filter"), Rank: rank(o), Priority: spec.GetPriority(),
	}
	if !readSelectors(spec, out, in, d) {
		return nil
	}
	for i, p := range spec.GetConfigPatches() {
		at := diag.Path("spec.configPatches").Index(i)
		if patch := readPatch(p, at, d); patch != nil {
			patch.Index = i
			out.Patches = append(out.Patches, *patch)
		}
	}
	return out
}

// readSelectors says which proxies the object is for; false: it cannot be
// said, so none.
func readSelectors(spec *networking.EnvoyFilter, out *model.EnvoyFilter, in scope, d *diag.List) bool {
	if labels := spec.GetWorkloadSelector().GetLabels(); len(labels) > 0 {
		if len(spec.GetTargetRefs()) > 0 {
			d.Add(diag.Invalid, "spec.targetRefs", "targetRefs and workloadSelector exclude one another; the object has no effect")
			return false
		}
		out.Selectors = append(out.Selectors, labels)
		return true
	}
	if spec.GetWorkloadSelector() != nil {
		d.Add(diag.AllSelected, "spec.workloadSelector", "it has no labels, so the patches are for every proxy of the namespace")
	}
	for i, ref := range spec.GetTargetRefs() {
		if s := targetSelector(ref, out.Namespace == in.settings().RootNamespace, diag.Path("spec.targetRefs").Index(i), d); s != nil {
			out.Selectors = append(out.Selectors, s)
		}
	}
	return len(spec.GetTargetRefs()) == 0 || len(out.Selectors) > 0
}

// The labels of the pods that run a Gateway of the Gateway API.
const (
	gatewayNameLabel  = "gateway.networking.k8s.io/gateway-name"
	gatewayClassLabel = "gateway.networking.k8s.io/gateway-class-name"
	gatewayGroup      = "gateway.networking.k8s.io"
)

// targetSelector gives the labels of the proxies that a reference is to; nil
// if it is to none that there can be.
func targetSelector(ref *typev1beta1.PolicyTargetReference, root bool, at diag.Path, d *diag.List) map[string]string {
	switch {
	case ref.GetNamespace() != "":
		d.Add(diag.Invalid, at.Field("namespace"), "a reference to another namespace is not allowed")
	case ref.GetName() == "":
		d.Add(diag.Invalid, at.Field("name"), "it is empty")
	case ref.GetGroup() == gatewayGroup && ref.GetKind() == "Gateway":
		return map[string]string{gatewayNameLabel: ref.GetName()}
	case ref.GetGroup() == gatewayGroup && ref.GetKind() == "GatewayClass" && root:
		return map[string]string{gatewayClassLabel: ref.GetName()}
	case ref.GetGroup() == gatewayGroup && ref.GetKind() == "GatewayClass":
		d.Add(diag.Invalid, at, "a GatewayClass can be referred to from the root namespace only")
	default:
		d.Add(diag.NotSupported, at.Field("kind"), "%s of group %q is a reference for ambient meshes; Weft has Gateway and GatewayClass of %s", ref.GetKind(), ref.GetGroup(), gatewayGroup)
	}
	return nil
}

func readPatch(in *networking.EnvoyFilter_EnvoyConfigObjectPatch, at diag.Path, d *diag.List) *model.Patch {
	out := &model.Patch{To: model.ApplyTo(in.GetApplyTo().String()), Op: model.Operation(in.GetPatch().GetOperation().String())}
	op := in.GetPatch().GetOperation()
	switch {
	case in.GetApplyTo() == networking.EnvoyFilter_INVALID:
		d.Add(diag.Invalid, at.Field("applyTo"), "it is missing")
	case in.GetApplyTo() == networking.EnvoyFilter_BOOTSTRAP:
		d.Add(diag.NotSupported, at.Field("applyTo"), "BOOTSTRAP: Envoy reads its bootstrap once, before it asks the pilot for anything, so no patch can reach it; use the agent's settings (ProxyConfig)")
	case op == networking.EnvoyFilter_Patch_INVALID:
		d.Add(diag.Invalid, at.Field("patch.operation"), "it is missing")
	case !operations[out.To][out.Op]:
		d.Add(diag.Invalid, at.Field("patch.operation"), "%s cannot be done to %s", out.Op, out.To)
	case !readMatch(in.GetMatch(), out, at.Field("match"), d), !readBody(in.GetPatch(), out, at.Field("patch"), d):
	default:
		return out
	}
	return nil
}

// operations are those that have a meaning for each part. Inserting where the
// order is of no matter is adding, as in Istio.
var operations = map[model.ApplyTo]map[model.Operation]bool{
	model.ToListener:       opSet(model.OpMerge, model.OpMergeReplace, model.OpAdd, model.OpRemove, model.OpInsertBefore, model.OpInsertAfter, model.OpInsertFirst),
	model.ToListenerFilter: opSet(model.OpMerge, model.OpMergeReplace, model.OpAdd, model.OpRemove, model.OpInsertBefore, model.OpInsertAfter, model.OpInsertFirst, model.OpReplace),
	model.ToFilterChain:    opSet(model.OpMerge, model.OpMergeReplace, model.OpAdd, model.OpRemove, model.OpInsertBefore, model.OpInsertAfter, model.OpInsertFirst),
	model.ToNetworkFilter:  opSet(model.OpMerge, model.OpMergeReplace, model.OpAdd, model.OpRemove, model.OpInsertBefore, model.OpInsertAfter, model.OpInsertFirst, model.OpReplace),
	model.ToHTTPFilter:     opSet(model.OpMerge, model.OpMergeReplace, model.OpAdd, model.OpRemove, model.OpInsertBefore, model.OpInsertAfter, model.OpInsertFirst, model.OpReplace),
	model.ToRouteTable:     opSet(model.OpMerge, model.OpMergeReplace),
	model.ToVirtualHost:    opSet(model.OpMerge, model.OpMergeReplace, model.OpAdd, model.OpRemove, model.OpInsertBefore, model.OpInsertAfter, model.OpInsertFirst, model.OpReplace),
	model.ToRoute:          opSet(model.OpMerge, model.OpMergeReplace, model.OpAdd, model.OpRemove, model.OpInsertBefore, model.OpInsertAfter, model.OpInsertFirst),
	model.ToCluster:        opSet(model.OpMerge, model.OpMergeReplace, model.OpAdd, model.OpRemove, model.OpInsertBefore, model.OpInsertAfter, model.OpInsertFirst),
	model.ToExtension:      opSet(model.OpAdd, model.OpReplace, model.OpInsertBefore, model.OpInsertAfter, model.OpInsertFirst),
}

func opSet(all ...model.Operation) map[model.Operation]bool {
	out := map[model.Operation]bool{}
	for _, op := range all {
		out[op] = true
	}
	return out
}

// listed are the parts that are lists in which the order matters.
var listed = map[model.ApplyTo]bool{model.ToListenerFilter: true, model.ToNetworkFilter: true, model.ToHTTPFilter: true, model.ToRoute: true}

func readBody(in *networking.EnvoyFilter_Patch, out *model.Patch, at diag.Path, d *diag.List) bool {
	if c := in.GetFilterClass(); c != networking.EnvoyFilter_Patch_UNSPECIFIED {
		if out.To != model.ToHTTPFilter || out.Op != model.OpAdd {
			d.Add(diag.NoEffect, at.Field("filterClass"), "it says where an HTTP filter is added; this patch does not ADD an HTTP_FILTER")
		} else {
			out.Class = model.FilterClass(c.String())
		}
	}
	if !listed[out.To] && strings.HasPrefix(string(out.Op), "INSERT_") {
		out.Op = model.OpAdd
	}
	if out.Op == model.OpRemove {
		return true
	}
	if in.GetValue() == nil {
		d.Add(diag.Invalid, at.Field("value"), "it is missing, and %s needs one", out.Op)
		return false
	}
	body, err := json.Marshal(in.GetValue().AsMap())
	switch {
	case err != nil:
		d.Add(diag.Invalid, at.Field("value"), "%v", err)
		return false
	case len(body) > maxPatchBody:
		d.Add(diag.Invalid, at.Field("value"), "it has %d bytes, the limit is %d: each resource that it edits would carry them", len(body), maxPatchBody)
		return false
	}
	out.Value = string(body)
	return true
}

// readMatch reads what a patch is for; false: that is nothing, and was
// reported unless the proxies are of another version.
func readMatch(in *networking.EnvoyFilter_EnvoyConfigObjectMatch, out *model.Patch, at diag.Path, d *diag.List) bool {
	switch in.GetContext() {
	case networking.EnvoyFilter_SIDECAR_INBOUND:
		out.Role = model.RoleInbound
	case networking.EnvoyFilter_SIDECAR_OUTBOUND:
		out.Role = model.RoleOutbound
	case networking.EnvoyFilter_GATEWAY:
		out.Role = model.RoleRouter
	case networking.EnvoyFilter_WAYPOINT:
		d.Add(diag.NotSupported, at.Field("context"), "WAYPOINT: Weft has no ambient mode and so no waypoints")
		return false
	}
	if m := in.GetProxy().GetMetadata(); len(m) > 0 {
		out.Metadata = m
	}
	if !versionFits(in.GetProxy().GetProxyVersion(), at.Field("proxy.proxyVersion"), d) {
		return false
	}
	return readPicks(in, out, at, d)
}

func versionFits(expr string, at diag.Path, d *diag.List) bool {
	if expr == "" {
		return true
	}
	re, err := regexp.Compile(expr)
	switch {
	case len(expr) > maxVersionRegex:
		d.Add(diag.Invalid, at, "it has %d characters, the limit is %d", len(expr), maxVersionRegex)
	case err != nil:
		d.Add(diag.Invalid, at, "not a regular expression: %v", err)
	case !re.MatchString(istioVersion):
		d.Add(diag.NoMatch, at, "%q does not match %s, the version of Istio whose API Weft speaks; the patch has no effect", expr, istioVersion)
	default:
		return true
	}
	return false
}

// readPicks reads the part of a match that is about the patched object.
func readPicks(in *networking.EnvoyFilter_EnvoyConfigObjectMatch, out *model.Patch, at diag.Path, d *diag.List) bool {
	wrong := func(field string) bool {
		d.Add(diag.Invalid, at.Field(field), "a patch of %s cannot be matched by it", out.To)
		return false
	}
	of := familyOf(out.To)
	switch m := in.GetObjectTypes().(type) {
	case *networking.EnvoyFilter_EnvoyConfigObjectMatch_Listener:
		if of != "listener" {
			return wrong("listener")
		}
		return readListenerPick(m.Listener, out, at.Field("listener"), d)
	case *networking.EnvoyFilter_EnvoyConfigObjectMatch_RouteConfiguration:
		if of != "routeConfiguration" {
			return wrong("routeConfiguration")
		}
		out.Table = tablePick(m.RouteConfiguration)
	case *networking.EnvoyFilter_EnvoyConfigObjectMatch_Cluster:
		if of != "cluster" {
			return wrong("cluster")
		}
		c := m.Cluster
		out.Cluster = &model.ClusterPick{Name: c.GetName(), Service: c.GetService(), Subset: c.GetSubset(), Port: c.GetPortNumber()}
	case *networking.EnvoyFilter_EnvoyConfigObjectMatch_Waypoint:
		return false // refused by the ledger
	}
	return true
}

// familyOf is the field by which a part is matched.
func familyOf(to model.ApplyTo) string {
	switch to {
	case model.ToCluster:
		return "cluster"
	case model.ToRouteTable, model.ToVirtualHost, model.ToRoute:
		return "routeConfiguration"
	case model.ToExtension:
		return ""
	default:
		return "listener"
	}
}

func readListenerPick(in *networking.EnvoyFilter_ListenerMatch, out *model.Patch, at diag.Path, d *diag.List) bool {
	out.Listener = &model.ListenerPick{Name: in.GetName(), Port: in.GetPortNumber(), Filter: in.GetListenerFilter()}
	chain := in.GetFilterChain()
	if chain == nil {
		return true
	}
	at = at.Field("filterChain")
	pick := &model.ChainPick{Name: chain.GetName(), SNI: chain.GetSni(), Transport: chain.GetTransportProtocol(), Port: chain.GetDestinationPort()}
	if p := chain.GetApplicationProtocols(); p != "" {
		for one := range strings.SplitSeq(p, ",") {
			pick.Protocols = append(pick.Protocols, strings.TrimSpace(one))
		}
	}
	out.Listener.Chain = pick
	filter, sub := chain.GetFilter(), chain.GetFilter().GetSubFilter()
	pick.Network, pick.HTTP = canonicalFilter(filter.GetName()), canonicalFilter(sub.GetName())
	switch {
	case filter != nil && filter.GetName() == "":
		d.Add(diag.Invalid, at.Field("filter.name"), "it is missing")
	case sub != nil && sub.GetName() == "":
		d.Add(diag.Invalid, at.Field("filter.subFilter.name"), "it is missing")
	case sub != nil && out.To != model.ToHTTPFilter:
		d.Add(diag.Invalid, at.Field("filter.subFilter"), "only a patch of HTTP_FILTER can be matched by it")
	case sub != nil && pick.Network != managerFilter:
		d.Add(diag.Invalid, at.Field("filter.name"), "HTTP filters are in %s", managerFilter)
	default:
		if filter != nil && (out.To == model.ToListener || out.To == model.ToFilterChain) {
			d.Add(diag.NoEffect, at.Field("filter"), "a patch of %s is not matched by filters", out.To)
		}
		return true
	}
	return false
}

const managerFilter = "envoy.filters.network.http_connection_manager"

// oldFilters are names of filters that Envoy has given up, as Istio still
// takes them.
var oldFilters = map[string]string{
	"envoy.http_connection_manager": managerFilter,
	"envoy.tcp_proxy":               "envoy.filters.network.tcp_proxy",
	"envoy.router":                  "envoy.filters.http.router",
	"envoy.cors":                    "envoy.filters.http.cors",
	"envoy.fault":                   "envoy.filters.http.fault",
}

func canonicalFilter(name string) string {
	if now, ok := oldFilters[name]; ok {
		return now
	}
	return name
}

func tablePick(in *networking.EnvoyFilter_RouteConfigurationMatch) *model.TablePick {
	out := &model.TablePick{Name: in.GetName(), PortName: in.GetPortName(), Gateway: in.GetGateway(), Port: in.GetPortNumber()}
	if h := in.GetVhost(); h != nil {
		out.Host = &model.HostPick{Name: h.GetName(), Domain: h.GetDomainName()}
		if r := h.GetRoute(); r != nil {
			out.Host.Route = &model.RoutePick{Name: r.GetName()}
			if a := r.GetAction(); a != networking.EnvoyFilter_RouteConfigurationMatch_RouteMatch_ANY {
				out.Host.Route.Action = a.String()
			}
		}
	}
	return out
}
