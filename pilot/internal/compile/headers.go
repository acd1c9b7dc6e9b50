package compile

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// authorityHeader stands for the request's host, to Envoy no header.
const authorityHeader = ":authority"

// headerOps reads changes of headers. The authority of a request is not a
// header to Envoy and is returned by itself; set goes before add.
//
// Source: istio.io/api networking/v1alpha3, message Headers.
func (c *routing) headerOps(in *networking.Headers_HeaderOperations, at diag.Path, request bool) (out model.HeaderOps, authority string) {
	if request {
		if v, ok := authorityOf(in.GetAdd()); ok {
			authority = v
		}
		if v, ok := authorityOf(in.GetSet()); ok {
			authority = v
		}
		if !c.plainText(authority, at) {
			authority = ""
		}
	}
	out.Set = c.headers(in.GetSet(), at.Field("set"), request)
	out.Add = c.headers(in.GetAdd(), at.Field("add"), request)
	for i, name := range in.GetRemove() {
		if at := at.Field("remove").Index(i); c.changeable(name, at) {
			out.Remove = append(out.Remove, name)
		}
	}
	slices.Sort(out.Remove)
	out.Remove = slices.Compact(out.Remove)
	return out, authority
}

func (c *routing) headers(in map[string]string, at diag.Path, request bool) (out []model.Header) {
	seen := map[string]string{} // to Envoy the case of a name is nothing
	for _, name := range slices.Sorted(maps.Keys(in)) {
		at, key := at.Key(name), strings.ToLower(name)
		if request && isAuthority(name) {
			key = authorityHeader
		}
		if first, twice := seen[key]; twice {
			c.d.Add(diag.Duplicate, at, "%q is the same header; that is in force", first)
			continue
		}
		seen[key] = name
		if request && isAuthority(name) || !c.changeable(name, at) {
			continue
		}
		if checkHeaderValue(in[name], at, c.d) && checkFormat(in[name], at, c.d) {
			out = append(out, model.Header{Name: name, Value: in[name]})
		}
	}
	return out
}

// maxHeader is what Envoy takes as the name or the value of a header that it
// adds, in bytes (config.core.v3.HeaderValue).
const maxHeader = 16384

func checkHeaderValue(s string, at diag.Path, d *diag.List) bool {
	if len(s) > maxHeader {
		d.Add(diag.Invalid, at, "has %d bytes; Envoy adds at most %d", len(s), maxHeader)
		return false
	}
	return checkText(s, at, d)
}

// changeable: Envoy refuses to change pseudo headers and Host.
func (c *routing) changeable(name string, at diag.Path) bool {
	if strings.HasPrefix(name, ":") || strings.EqualFold(name, "host") {
		c.d.Add(diag.Invalid, at, "header %q cannot be changed here", name)
		return false
	}
	return checkHeaderName(name, at, c.d)
}

func isAuthority(name string) bool {
	return strings.EqualFold(name, authorityHeader) || strings.EqualFold(name, "host")
}

// authorityOf finds the authority among headers to set.
func authorityOf(in map[string]string) (string, bool) {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if isAuthority(name) {
			return in[name], true
		}
	}
	return "", false
}
