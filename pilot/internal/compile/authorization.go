package compile

import (
	"slices"
	"strconv"
	"strings"

	security "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// dryRunAnnotation makes a policy count what it would decide, and decide
// nothing.
const dryRunAnnotation = "istio.io/dry-run"

// compileAuthorization reads one AuthorizationPolicy. What cannot be read is
// never in anyone's favour: an ALLOW rule with such a value takes nothing, a
// DENY or AUDIT rule is as wide as without the value.
//
// Source: istio.io/api security/v1beta1, message AuthorizationPolicy.
func compileAuthorization(o *config.Object, in scope, d *diag.List) *model.Authorization {
	spec, ok := o.Spec.(*security.AuthorizationPolicy)
	if !ok {
		return nil
	}
	out := &model.Authorization{
		Namespace: o.Namespace, Name: o.Name, Origin: origin(o, "security.istio.io", "authorization-policy"),
		Action: model.AuthAction(spec.GetAction().String()), DryRun: dryRun(o, d),
	}
	selectors, told := policySelectors(spec, o.Namespace, in, d)
	out.Selectors = selectors
	if at := unread(o.Unread).besideLists("spec.rules"); at != "" {
		return denyAll(out, o, at, d)
	}
	if security.AuthorizationPolicy_Action_name[int32(spec.GetAction())] == "" {
		return denyAll(out, o, "spec.action", d)
	}
	if !told {
		d.Add(diag.NotEnforced, "spec", "no workload can be told from it, so it is enforced nowhere")
		return nil
	}
	out.Provider = provider(spec, in.settings(), d)
	r := &authReader{policy: out, trust: in.settings(), d: d, unread: o.Unread}
	for i, rule := range spec.GetRules() {
		if m, ok := r.rule(i, rule); ok {
			out.Rules = append(out.Rules, m)
		}
	}
	if len(spec.GetRules()) == 0 && out.Action != model.AuthAllow {
		d.Add(diag.NoEffect, "spec.rules", "without rules %s takes no request", out.Action)
	}
	return bounded(out, d)
}

func dryRun(o *config.Object, d *diag.List) bool {
	text, ok := o.Annotations[dryRunAnnotation]
	if !ok {
		return false
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		d.Add(diag.BadAnnotation, diag.Path("metadata.annotations").Key(dryRunAnnotation), "%q is neither true nor false; the policy is enforced", text)
	}
	return on
}

// targeted is a security policy that says whom it is for.
type targeted interface {
	GetSelector() *typev1beta1.WorkloadSelector
	GetTargetRef() *typev1beta1.PolicyTargetReference
	GetTargetRefs() []*typev1beta1.PolicyTargetReference
}

// policySelectors says whom a policy is for, each of the labels one way to be
// meant; none: all. False: it cannot be said.
func policySelectors(spec targeted, namespace string, in scope, d *diag.List) (out []map[string]string, ok bool) {
	refs := spec.GetTargetRefs()
	at := func(i int) diag.Path { return diag.Path("spec.targetRefs").Index(i) }
	if one := spec.GetTargetRef(); one != nil && len(refs) == 0 {
		refs, at = append(refs, one), func(int) diag.Path { return "spec.targetRef" }
	}
	if labels := spec.GetSelector().GetMatchLabels(); len(labels) > 0 {
		if len(refs) > 0 {
			d.Add(diag.Invalid, at(0), "targets and a selector exclude one another; the selector is in force")
		}
		return append(out, labels), true
	}
	for i, ref := range refs {
		if s := targetSelector(ref, namespace == in.settings().RootNamespace, at(i), d); s != nil {
			out = append(out, s)
		}
	}
	return out, len(refs) == 0 || len(out) > 0
}

// authReader reads the rules of one policy.
type authReader struct {
	policy *model.Authorization
	trust  *model.Settings
	d      *diag.List
	// lost: a value of the rule that is being read could not be.
	lost   bool
	unread unread
}

// rule reads one rule; false: it takes nothing.
func (r *authReader) rule(index int, in *security.Rule) (out model.AuthRule, ok bool) {
	at := diag.Path("spec.rules").Index(index)
	out.Index = index
	part := r.unread.under(at)
	if r.lost = part != ""; r.lost {
		r.d.Add(diag.Unread, part, "what the rule asks for is not known; %s", strings.Replace(r.outcome(), "the list", "it", 1))
	}
	for i, from := range in.GetFrom() {
		out.From = append(out.From, r.source(from.GetSource(), at.Field("from").Index(i).Field("source")))
	}
	for i, to := range in.GetTo() {
		out.To = append(out.To, r.operation(to.GetOperation(), at.Field("to").Index(i).Field("operation")))
	}
	for i, when := range in.GetWhen() {
		at := at.Field("when").Index(i)
		if len(when.GetValues())+len(when.GetNotValues()) == 0 {
			r.lost = true
			r.d.Add(diag.Invalid, at, "a condition needs values or notValues; %s", r.outcome())
			continue
		}
		attr, key, err := attribute(when.GetKey())
		if err != nil {
			r.lost = true
			r.d.Add(diag.Invalid, at.Field("key"), "%v; %s", err, r.outcome())
			continue
		}
		out.When = r.term(out.When, asked{attr, key, when.GetValues(), when.GetNotValues(), at, "values", "notValues"})
	}
	return out, !r.lost || r.policy.Action != model.AuthAllow
}

// outcome says what a value that cannot be read does to its rule.
func (r *authReader) outcome() string {
	if r.policy.Action == model.AuthAllow {
		return "the rule takes no request"
	}
	return "the rule is as wide as without the list"
}

// asked is a condition as it is written.
type asked struct {
	attr           model.AuthAttr
	key            []string
	is, not        []string
	at             diag.Path
	field, against string
}

func (r *authReader) source(in *security.Source, at diag.Path) (out model.AuthTerms) {
	if len(in.GetServiceAccounts()) > 0 && len(in.GetPrincipals())+len(in.GetNamespaces()) > 0 {
		r.d.Add(diag.Invalid, at.Field("serviceAccounts"), "it cannot be set with principals or namespaces; all of them must hold")
	}
	for _, a := range []asked{
		{model.AuthPrincipal, nil, in.GetPrincipals(), in.GetNotPrincipals(), at, "principals", "notPrincipals"},
		{model.AuthRequestPrincipal, nil, in.GetRequestPrincipals(), in.GetNotRequestPrincipals(), at, "requestPrincipals", "notRequestPrincipals"},
		{model.AuthServiceAccount, nil, in.GetServiceAccounts(), in.GetNotServiceAccounts(), at, "serviceAccounts", "notServiceAccounts"},
		{model.AuthTrustDomain, nil, in.GetTrustDomains(), in.GetNotTrustDomains(), at, "trustDomains", "notTrustDomains"},
		{model.AuthNamespace, nil, in.GetNamespaces(), in.GetNotNamespaces(), at, "namespaces", "notNamespaces"},
		{model.AuthRemoteIP, nil, in.GetRemoteIpBlocks(), in.GetNotRemoteIpBlocks(), at, "remoteIpBlocks", "notRemoteIpBlocks"},
		{model.AuthSourceIP, nil, in.GetIpBlocks(), in.GetNotIpBlocks(), at, "ipBlocks", "notIpBlocks"},
	} {
		out = r.term(out, a)
	}
	r.needed(out, at)
	return out
}

// needed reports a source or operation that asks for nothing: most often one
// whose field is misspelt, or whose list came out empty.
func (r *authReader) needed(terms model.AuthTerms, at diag.Path) {
	if len(terms) == 0 && !r.lost {
		r.lost = true
		r.d.Add(diag.Invalid, at, "it asks for nothing; %s; leave it out if all are meant", r.outcome())
	}
}

func (r *authReader) operation(in *security.Operation, at diag.Path) (out model.AuthTerms) {
	for _, a := range []asked{
		{model.AuthHost, nil, in.GetHosts(), in.GetNotHosts(), at, "hosts", "notHosts"},
		{model.AuthMethod, nil, in.GetMethods(), in.GetNotMethods(), at, "methods", "notMethods"},
		{model.AuthPath, nil, in.GetPaths(), in.GetNotPaths(), at, "paths", "notPaths"},
		{model.AuthPort, nil, in.GetPorts(), in.GetNotPorts(), at, "ports", "notPorts"},
	} {
		out = r.term(out, a)
	}
	r.needed(out, at)
	return out
}

// term appends what is asked of one attribute, if anything is.
func (r *authReader) term(terms model.AuthTerms, a asked) model.AuthTerms {
	is := r.values(a, a.is, a.at.Field(a.field), r.policy.Action != model.AuthAllow)
	not := r.values(a, a.not, a.at.Field(a.against), r.policy.Action == model.AuthAllow)
	if len(is)+len(not) == 0 {
		return terms
	}
	at := a.at.Field(a.field)
	if len(is) == 0 {
		at = a.at.Field(a.against)
	}
	return append(terms, model.AuthTerm{Attr: a.attr, Key: a.key, Is: is, Not: not, At: string(at)})
}

// values reads those of one list. Denying says that what they take is denied:
// then doubt counts as a match, and a list of which one value is lost takes
// everything.
func (r *authReader) values(a asked, texts []string, at diag.Path, denying bool) (out []model.AuthValue) {
	lost := false
	for i, text := range texts {
		v, err := r.value(a.attr, text, denying)
		if err != nil {
			r.lost, lost = true, true
			r.d.Add(diag.Invalid, at.Index(i), "%q: %v; %s", text, err, r.outcome())
			continue
		}
		out = append(out, v)
	}
	if lost && denying {
		return nil
	}
	return out
}

// plainAttributes have nothing in brackets.
var plainAttributes = []model.AuthAttr{
	model.AuthPrincipal, model.AuthNamespace, model.AuthServiceAccount, model.AuthTrustDomain, model.AuthSourceIP,
	model.AuthRemoteIP, model.AuthDestinationIP, model.AuthPort, model.AuthSNI, model.AuthRequestPrincipal,
}

// attribute parts a condition's key into the attribute and what is in its
// brackets.
// Source: Istio's page "Authorization Policy Conditions".
func attribute(key string) (model.AuthAttr, []string, error) {
	if attr := model.AuthAttr(key); slices.Contains(plainAttributes, attr) {
		return attr, nil, nil
	}
	switch key {
	case "request.auth.audiences":
		return model.AuthClaim, []string{"aud"}, nil
	case "request.auth.presenter":
		return model.AuthClaim, []string{"azp"}, nil
	}
	name, rest, _ := strings.Cut(key, "[")
	inner, closed := strings.CutSuffix(rest, "]")
	switch {
	case !closed || inner == "":
	case name == string(model.AuthHeader) && token.MatchString(inner):
		return model.AuthHeader, []string{strings.ToLower(inner)}, nil
	case name == string(model.AuthClaim) && !slices.Contains(strings.Split(inner, "]["), ""):
		return model.AuthClaim, strings.Split(inner, "]["), nil
	case strings.HasPrefix(name, string(model.AuthMetadata)+"."):
		return model.AuthMetadata, []string{strings.TrimPrefix(name, "experimental."), inner}, nil
	}
	return "", nil, errUnknownAttribute
}
