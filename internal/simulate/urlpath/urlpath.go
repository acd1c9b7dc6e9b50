// Package urlpath normalises the paths of requests as Envoy does.
//
// In and out: paths without their query. It is pure and imports the standard
// library alone. TestNoWayAround of package pilot holds it to a real Envoy.
package urlpath

import (
	"net/url"
	"strings"
)

var slashes = strings.NewReplacer("%2F", "/", "%2f", "/", "%5C", `\`, "%5c", `\`)

// Unslash decodes slashes and backslashes.
// Source: HttpConnectionManager.path_with_escaped_slashes_action.
func Unslash(path string) string { return slashes.Replace(path) }

// Clean takes dot segments out, decodes what needs no encoding, and makes slashes
// of backslashes; slashes that follow each other stay. Dots with parameters, as in
// "..;a", are dots too unless they are encoded.
// Source: HttpConnectionManager.normalize_path; RFC 3986, 5.2.4 and 6.2.2.
func Clean(path string) string {
	if !strings.HasPrefix(path, "/") {
		return path
	}
	var out []string
	segments := strings.Split(strings.ReplaceAll(path, `\`, "/")[1:], "/")
	for i, written := range segments {
		s := decoded(written)
		if bare, _, ok := strings.Cut(written, ";"); ok && (bare == "." || bare == "..") {
			s = bare
		}
		switch {
		case s != "." && s != "..":
			out = append(out, s)
			continue
		case s == ".." && len(out) > 0:
			out = out[:len(out)-1]
		}
		if i == len(segments)-1 {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}

// Merge makes one slash of those that follow each other. Of a path of slashes
// alone two stay, as Envoy has it.
// Source: HttpConnectionManager.merge_slashes.
func Merge(path string) string {
	if !strings.Contains(path, "//") {
		return path
	}
	words := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	out := strings.Join(words, "/")
	if strings.HasPrefix(path, "/") {
		out = "/" + out
	}
	if strings.HasSuffix(path, "/") {
		out += "/"
	}
	return out
}

// decoded decodes, once, the percent-encodings of unreserved bytes.
func decoded(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			if s, err := url.PathUnescape(path[i : i+3]); err == nil && unreserved(s[0]) {
				out.WriteString(s)
				i += 2
				continue
			}
		}
		out.WriteByte(path[i])
	}
	return out.String()
}

func unreserved(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("-._~", b) >= 0
}
