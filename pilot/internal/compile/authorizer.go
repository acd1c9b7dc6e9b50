package compile

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	mesh "istio.io/api/mesh/v1alpha1"
	security "istio.io/api/security/v1beta1"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
)

// defaultAuthorizerTimeout is Istio's.
const defaultAuthorizerTimeout = 600 * time.Second

// The types of Istio's API, by shorter names.
type (
	authorizerHTTP = mesh.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationHttpProvider
	authorizerGRPC = mesh.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationGrpcProvider
	authorizerBody = mesh.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationRequestBody
)

// compileAuthorizers reads the external authorizers among extensionProviders.
// One of which a part cannot be read is left out, for it might let pass what it
// was not meant to; and so is a name that is there twice. What asks such a one
// is denied.
//
// Source: istio.io/api mesh/v1alpha1, message MeshConfig.ExtensionProvider.
func compileAuthorizers(in []*mesh.MeshConfig_ExtensionProvider, d *diag.List) (out []*model.Authorizer) {
	first := map[string]int{}
	for i, p := range in {
		at := diag.Path("extensionProviders").Index(i)
		before, again := first[p.GetName()]
		if !again {
			first[p.GetName()] = i
		}
		r := &authorizerReader{d: d, out: &model.Authorizer{Name: p.GetName(), Timeout: defaultAuthorizerTimeout}}
		switch kind := p.GetProvider().(type) {
		case *mesh.MeshConfig_ExtensionProvider_EnvoyExtAuthzHttp:
			r.http(kind.EnvoyExtAuthzHttp, at.Field("envoyExtAuthzHttp"))
		case *mesh.MeshConfig_ExtensionProvider_EnvoyExtAuthzGrpc:
			r.grpc(kind.EnvoyExtAuthzGrpc, at.Field("envoyExtAuthzGrpc"))
		default:
			continue
		}
		if !hostname.IsLabel(p.GetName()) {
			r.refuse(at.Field("name"), "%q: the name of an authorizer has small letters, digits and -, at most 63", p.GetName())
		}
		if again {
			d.Add(diag.Duplicate, at.Field("name"), "extensionProviders[%d] has the name too; neither is used", before)
			out = slices.DeleteFunc(out, func(a *model.Authorizer) bool { return a.Name == p.GetName() })
		} else if !r.lost {
			out = append(out, r.out)
		}
	}
	slices.SortFunc(out, func(a, b *model.Authorizer) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// authorizerReader reads one authorizer.
type authorizerReader struct {
	out  *model.Authorizer
	d    *diag.List
	lost bool
}

// refuse reports a value for which the whole authorizer is left out.
func (r *authorizerReader) refuse(at diag.Path, format string, args ...any) {
	r.lost = true
	r.d.Add(diag.Invalid, at, format+"; the authorizer is not used", args...)
}

// keep takes note of what a check said.
func (r *authorizerReader) keep(ok bool) bool {
	r.lost = r.lost || !ok
	return ok
}

// askable is what authorizers of both kinds have.
type askable interface {
	GetService() string
	GetPort() uint32
	GetTimeout() *durationpb.Duration
	GetFailOpen() bool
	GetClearRouteCache() bool
	GetStatusOnError() string
	GetIncludeRequestBodyInCheck() *authorizerBody
}

func (r *authorizerReader) common(in askable, at diag.Path) {
	callee, ok := compileCallee(in.GetService(), in.GetPort(), at, r.d)
	r.keep(ok)
	r.out.Callee = callee
	if v, ok := callTimeout(in.GetTimeout(), at.Field("timeout"), r.d); ok {
		r.out.Timeout = v
	} else if in.GetTimeout() != nil {
		r.lost = true
	}
	r.out.FailOpen, r.out.ClearRoutes = in.GetFailOpen(), in.GetClearRouteCache()
	if text := in.GetStatusOnError(); text != "" {
		status, err := strconv.ParseUint(text, 10, 16)
		if err != nil || !envoyStatuses[status] {
			r.refuse(at.Field("statusOnError"), "%q is none of the statuses that Envoy answers with, such as 403 and 503", text)
		}
		r.out.StatusOnError = uint32(status)
	}
	if body := in.GetIncludeRequestBodyInCheck(); body != nil {
		if body.GetMaxRequestBytes() == 0 {
			r.refuse(at.Field("includeRequestBodyInCheck").Field("maxRequestBytes"), "it must be at least 1")
		}
		r.out.Body = &model.AuthorizerBody{MaxBytes: body.GetMaxRequestBytes(), Partial: body.GetAllowPartialMessage(), Bytes: body.GetPackAsBytes()}
	}
}

func (r *authorizerReader) grpc(in *authorizerGRPC, at diag.Path) {
	r.out.GRPC = true
	r.common(in, at)
}

func (r *authorizerReader) http(in *authorizerHTTP, at diag.Path) {
	r.common(in, at)
	h := &r.out.HTTP
	if h.PathPrefix = in.GetPathPrefix(); h.PathPrefix != "" && r.keep(checkText(h.PathPrefix, at.Field("pathPrefix"), r.d)) && h.PathPrefix[0] != '/' {
		r.refuse(at.Field("pathPrefix"), "%q does not begin with /", h.PathPrefix)
	}
	shown, field := in.GetIncludeRequestHeadersInCheck(), "includeRequestHeadersInCheck"
	if old := in.GetIncludeHeadersInCheck(); len(old) > 0 { //nolint:staticcheck // Istio reads it where the new one is not set
		at := at.Field("includeHeadersInCheck")
		if len(shown) > 0 {
			r.d.Add(diag.NoEffect, at, "includeRequestHeadersInCheck is in force")
		} else {
			r.d.Add(diag.OldField, at, "includeRequestHeadersInCheck has replaced it")
			shown, field = old, "includeHeadersInCheck"
		}
	}
	h.Shown = r.names(shown, at.Field(field))
	h.Upstream = r.names(in.GetHeadersToUpstreamOnAllow(), at.Field("headersToUpstreamOnAllow"))
	h.Allowed = r.names(in.GetHeadersToDownstreamOnAllow(), at.Field("headersToDownstreamOnAllow"))
	h.Denied = r.names(in.GetHeadersToDownstreamOnDeny(), at.Field("headersToDownstreamOnDeny"))
	added := in.GetIncludeAdditionalHeadersInCheck()
	for _, name := range slices.Sorted(maps.Keys(added)) {
		at := at.Field("includeAdditionalHeadersInCheck").Key(name)
		if strings.HasPrefix(name, ":") || strings.EqualFold(name, "host") {
			r.refuse(at, "header %q cannot be changed here", name)
		}
		r.keep(checkHeaderName(name, at, r.d) && checkHeaderValue(added[name], at, r.d) && checkFormat(added[name], at, r.d))
		h.Added = append(h.Added, model.Header{Name: name, Value: added[name]})
	}
}

// names reads names of headers, each with a "*" at one end.
func (r *authorizerReader) names(in []string, at diag.Path) (out []model.StringMatch) {
	for i, text := range in {
		m, err := plain(text, true)
		if err != nil || text == "" || m[0].Kind == model.MatchPresent || !token.MatchString(text) {
			r.refuse(at.Index(i), "%q is no name of a header, and no beginning or end of one such as x-*", text)
			continue
		}
		out = append(out, m...)
	}
	return out
}

// envoyStatuses are those of whole answers that Envoy has a name for.
// Source: envoy.type.v3.StatusCode.
var envoyStatuses = statusesOf(200, 208, 226, 226, 300, 305, 307, 308, 400, 417, 421, 424, 426, 426, 428, 429, 431, 431, 500, 508, 510, 511)

// statusesOf gives the statuses of ranges, each a first and a last.
func statusesOf(ranges ...uint64) map[uint64]bool {
	out := map[uint64]bool{}
	for i := 0; i < len(ranges); i += 2 {
		for s := ranges[i]; s <= ranges[i+1]; s++ {
			out[s] = true
		}
	}
	return out
}

// provider is the name of the authorizer that a policy asks.
func provider(spec *security.AuthorizationPolicy, settings *model.Settings, d *diag.List) string {
	name, at := spec.GetProvider().GetName(), diag.Path("spec.provider.name")
	custom := spec.GetAction() == security.AuthorizationPolicy_CUSTOM
	switch {
	case !custom && spec.GetProvider() != nil:
		d.Add(diag.NoEffect, "spec.provider", "only a policy of action CUSTOM asks a provider")
		return ""
	case !custom:
		return ""
	case name == "":
		d.Add(diag.NoAuthorizer, at, "a policy of action CUSTOM must name one; it denies what its rules take")
	case settings.Authorizer(name) == nil:
		d.Add(diag.NoAuthorizer, at, "MeshConfig has no authorizer %q that can be used; the policy denies what its rules take", name)
	}
	return name
}

// checkAuthorizer reports an authorizer that no proxy can call.
func checkAuthorizer(p *model.Authorization, in scope, d *diag.List) {
	a := in.settings().Authorizer(p.Provider)
	if p.Action != model.AuthCustom || a == nil {
		return
	}
	at := diag.Path("spec.provider.name")
	s := a.Find(in.serviceOfKey)
	if s == nil {
		d.Add(diag.NoAuthorizer, at, "authorizer %q: %s; the policy denies what its rules take", a.Name, whyNoService(a.Callee, in.serviceOfKey))
	} else if _, ok := a.Reaches(s); !ok {
		d.Add(diag.NoAuthorizer, at, "authorizer %q: proxies cannot call port %d of service %s of their own; the policy denies what its rules take", a.Name, a.Port, a.Host)
	}
}

// servicesByKey gives the service of a key of Mesh.Services.
type servicesByKey = func(key string) (*model.Service, bool)

func whyNoService(a model.Callee, services servicesByKey) string {
	switch s, ok := services(a.Host); {
	case ok && a.Namespace == "" && s.Hidden && !s.Contested:
		return "service " + a.Host + " of namespace " + s.Namespace + " is not exported to the root namespace, and it names none (NAMESPACE/HOST)"
	case ok && a.Namespace == "" && s.Hidden:
		return "several namespaces have a service " + a.Host + ", and it names none (NAMESPACE/HOST)"
	case a.Namespace != "":
		return "there is no service " + a.Host + " in namespace " + a.Namespace
	}
	return "there is no service " + a.Host
}
