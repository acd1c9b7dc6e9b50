package compile

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// unread are the fields of a guard that could not be read. What they may have
// asked for is in nobody's favour.
type unread []diag.Path

// under gives the first that lies at or below a path; "" if none does.
func (u unread) under(at diag.Path) diag.Path {
	for _, p := range u {
		if rest, ok := strings.CutPrefix(string(p), string(at)); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return p
		}
	}
	return ""
}

// beside gives the first that lies in none of the parts; "" if none does.
func (u unread) beside(parts ...diag.Path) diag.Path {
	for _, p := range u {
		if !slices.ContainsFunc(parts, func(part diag.Path) bool { return unread{p}.under(part) != "" }) {
			return p
		}
	}
	return ""
}

// besideLists gives the first that is in no element of a list.
func (u unread) besideLists(list diag.Path) diag.Path {
	for _, p := range u {
		if !strings.HasPrefix(string(p), string(list)+"[") {
			return p
		}
	}
	return ""
}

// whatever gives the selectors of a policy; nil, for all, where it is not known
// whom it is for.
func whatever(o *config.Object, selectors []map[string]string) []map[string]string {
	for _, part := range []diag.Path{"spec.targetRefs", "spec.targetRef"} {
		if unread(o.Unread).under(part) != "" {
			return nil
		}
	}
	return selectors
}

// denyAll makes of a policy whose action or whose workloads are not known one
// that denies all that comes to those that it may be for.
func denyAll(out *model.Authorization, o *config.Object, at diag.Path, d *diag.List) *model.Authorization {
	out.Selectors = whatever(o, out.Selectors)
	out.Action, out.Rules = model.AuthDeny, []model.AuthRule{{}}
	d.Add(diag.Unread, at, "what the policy asks for is not known, so it denies every request to %s", whose(out))
	return out
}

func whose(a *model.Authorization) string {
	if a.Selectors == nil {
		return "all workloads of its namespace (of the mesh, in the root namespace)"
	}
	return "the workloads that it selects"
}

// strictOf is what a PeerAuthentication asks for where a part of it could not be
// read: STRICT.
func strictOf(o *config.Object, out *model.PeerAuth, d *diag.List) {
	u := unread(o.Unread)
	if at := u.beside("spec.mtls", "spec.portLevelMtls"); at != "" {
		strict(out, at, d)
		// For whom it is may be unknown: then it goes before those that are older.
		out.Rank, out.Ports = "!"+out.Rank, nil
		return
	}
	if at := u.under("spec.mtls"); at != "" {
		strict(out, at, d)
	}
	for _, at := range u {
		if (unread{at}).under("spec.portLevelMtls") == "" {
			continue
		}
		port, ok := portOf(at)
		if !ok {
			strict(out, at, d)
			out.Ports = nil
			return
		}
		if out.Ports == nil {
			out.Ports = map[uint32]model.MTLSMode{}
		}
		out.Ports[port] = model.MTLSStrict
		d.Add(diag.Unread, at, "the mode of port %d is not known, so it is STRICT", port)
	}
}

func strict(out *model.PeerAuth, at diag.Path, d *diag.List) {
	mode := model.MTLSStrict
	out.Mode = &mode
	d.Add(diag.Unread, at, "what the policy asks for is not known, so it asks for STRICT")
}

// portOf reads the port of a path such as spec.portLevelMtls["8080"].mode.
func portOf(at diag.Path) (uint32, bool) {
	_, rest, _ := strings.Cut(string(at), `["`)
	text, _, ok := strings.Cut(rest, `"]`)
	port, err := portNumber(text)
	return port, ok && err == nil
}
