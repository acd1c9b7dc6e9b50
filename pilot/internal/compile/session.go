package compile

import (
	"cmp"
	"strings"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// Istio's labels of a Service whose clients stay at their endpoint.
const (
	sessionLabel       = "istio.io/persistent-session"
	sessionHeaderLabel = "istio.io/persistent-session-header"
)

// session reads "COOKIE", "COOKIE:/PATH" or, of the other label, a header's name.
// The cookie goes first, as in Istio. Kubernetes takes neither ":" nor "/" in a
// label, so that there the path is always "/".
func session(o *config.Object, d *diag.List) *model.Session {
	at := diag.Path("metadata.labels")
	if text := o.Labels[sessionLabel]; text != "" {
		name, path, _ := strings.Cut(text, ":")
		path = cmp.Or(path, "/")
		odd := func(r rune) bool { return r <= ' ' || r > '~' || r == ';' || r == ',' }
		if !token.MatchString(name) || !strings.HasPrefix(path, "/") || strings.ContainsFunc(path, odd) {
			d.Add(diag.BadSession, at.Key(sessionLabel), "%q is not a cookie's name, or name and path (NAME:/PATH)", text)
			return nil
		}
		return &model.Session{Cookie: name, Path: path}
	}
	if text := o.Labels[sessionHeaderLabel]; text != "" {
		name := strings.ToLower(text)
		if !token.MatchString(name) || name == "host" {
			d.Add(diag.BadSession, at.Key(sessionHeaderLabel), "%q is not a name of a header that answers may have", text)
			return nil
		}
		return &model.Session{Header: name}
	}
	return nil
}
