package compile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
)

// mergeRoute gives a delegate's route with what it does not set itself taken
// from the root's. conflict says why the root does not lead there: the match of
// a delegate must be a subset of the root's.
//
// Source: istio.io/api networking/v1alpha3, HTTPRoute.delegate; Istio's
// mergeHTTPRoute for which fields are inherited.
func mergeRoute(root, leaf *networking.HTTPRoute) (out *networking.HTTPRoute, conflict string) {
	out = proto.CloneOf(leaf)
	if out == nil {
		return nil, ""
	}
	if out.Match, conflict = mergeMatches(root.GetMatch(), leaf.GetMatch()); conflict != "" {
		return nil, conflict
	}
	out.Name = joined(root.GetName(), leaf.GetName())
	inherit(&out.Rewrite, root.GetRewrite())
	inherit(&out.DirectResponse, root.GetDirectResponse())
	inherit(&out.Timeout, root.GetTimeout())
	inherit(&out.Retries, root.GetRetries())
	inherit(&out.Fault, root.GetFault())
	inherit(&out.Mirror, root.GetMirror())
	inherit(&out.MirrorPercent, root.GetMirrorPercent()) //nolint:staticcheck // still in the API
	inherit(&out.MirrorPercentage, root.GetMirrorPercentage())
	inherit(&out.CorsPolicy, root.GetCorsPolicy())
	inherit(&out.Headers, root.GetHeaders())
	if out.Mirrors == nil {
		out.Mirrors = root.GetMirrors()
	}
	return out, ""
}

// inherit sets *own where it is nil.
func inherit[T any](own **T, root *T) {
	if *own == nil {
		*own = root
	}
}

// joined is Istio's name of something merged.
func joined(root, leaf string) string {
	if root == "" || leaf == "" {
		return root + leaf
	}
	return root + "-" + leaf
}

// mergeMatches narrows each match of the delegate by every match of the root
// that it lies within; one that lies within none is a conflict.
func mergeMatches(roots, leaves []*networking.HTTPMatchRequest) (out []*networking.HTTPMatchRequest, conflict string) {
	if len(roots) == 0 || len(leaves) == 0 {
		return slices.Concat(roots, leaves), ""
	}
	for i, leaf := range leaves {
		before, why := len(out), ""
		for _, root := range roots {
			if why = beyond(root, leaf); why == "" {
				out = append(out, mergeMatch(root, leaf))
			}
		}
		if len(out) == before {
			return nil, fmt.Sprintf("match[%d] has %s", i, why)
		}
	}
	return out, ""
}

func mergeMatch(root, leaf *networking.HTTPMatchRequest) *networking.HTTPMatchRequest {
	out := proto.CloneOf(leaf)
	out.Name = joined(root.GetName(), leaf.GetName())
	inherit(&out.Uri, root.GetUri())
	inherit(&out.Scheme, root.GetScheme())
	inherit(&out.Method, root.GetMethod())
	inherit(&out.Authority, root.GetAuthority())
	out.Headers = both(root.GetHeaders(), leaf.GetHeaders())
	out.WithoutHeaders = both(root.GetWithoutHeaders(), leaf.GetWithoutHeaders())
	out.QueryParams = both(root.GetQueryParams(), leaf.GetQueryParams())
	out.SourceLabels = both(root.GetSourceLabels(), leaf.GetSourceLabels())
	if out.Port == 0 {
		out.Port = root.GetPort()
	}
	if len(out.Gateways) == 0 {
		out.Gateways = root.GetGateways()
	}
	if out.StatPrefix == "" {
		out.StatPrefix = root.GetStatPrefix()
	}
	return out
}

// both are the entries of root and leaf; those of leaf go before.
func both[V any](root, leaf map[string]V) map[string]V {
	if len(root)+len(leaf) == 0 {
		return nil
	}
	out := map[string]V{}
	maps.Copy(out, root)
	maps.Copy(out, leaf)
	return out
}

// beyond says by what leaf takes requests that root does not; "" if by nothing.
// As in Istio a regex on either side lies within nothing, and a root's
// sourceNamespace must be repeated.
func beyond(root, leaf *networking.HTTPMatchRequest) string {
	for _, part := range []struct {
		name       string
		root, leaf *networking.StringMatch
	}{
		{"uri", root.GetUri(), leaf.GetUri()}, {"scheme", root.GetScheme(), leaf.GetScheme()},
		{"method", root.GetMethod(), leaf.GetMethod()}, {"authority", root.GetAuthority(), leaf.GetAuthority()},
	} {
		if !narrower(part.root, part.leaf) {
			return "another " + part.name
		}
	}
	for _, part := range []struct {
		name       string
		root, leaf map[string]*networking.StringMatch
	}{
		{"header", root.GetHeaders(), leaf.GetHeaders()}, {"withoutHeaders entry", root.GetWithoutHeaders(), leaf.GetWithoutHeaders()},
		{"query parameter", root.GetQueryParams(), leaf.GetQueryParams()},
	} {
		for _, key := range slices.Sorted(maps.Keys(part.leaf)) {
			if !narrower(part.root[key], part.leaf[key]) {
				return fmt.Sprintf("another %s %q", part.name, key)
			}
		}
	}
	return otherSource(root, leaf)
}

// otherSource is beyond for what a match says about the client.
func otherSource(root, leaf *networking.HTTPMatchRequest) string {
	differs := func(key string) bool {
		v, ok := root.GetSourceLabels()[key]
		return ok && v != leaf.GetSourceLabels()[key]
	}
	switch {
	case root.GetIgnoreUriCase() != leaf.GetIgnoreUriCase():
		return "another ignoreUriCase"
	case root.GetPort() > 0 && leaf.GetPort() > 0 && root.GetPort() != leaf.GetPort():
		return "another port"
	case root.GetSourceNamespace() != "" && leaf.GetSourceNamespace() != root.GetSourceNamespace():
		return "another sourceNamespace"
	case slices.ContainsFunc(slices.Sorted(maps.Keys(leaf.GetSourceLabels())), differs):
		return "other sourceLabels"
	case len(root.GetGateways()) > 0 && slices.ContainsFunc(leaf.GetGateways(), func(g string) bool { return !slices.Contains(root.GetGateways(), g) }):
		return "other gateways"
	}
	return ""
}

// narrower reports whether every string that leaf takes is one that root takes.
// What is not set is no bound.
func narrower(root, leaf *networking.StringMatch) bool {
	switch {
	case root == nil || leaf == nil:
		return true
	case root.GetExact() != "":
		return leaf.GetExact() == root.GetExact()
	case root.GetPrefix() != "":
		text := leaf.GetPrefix() + leaf.GetExact() // one of them
		return text != "" && strings.HasPrefix(text, root.GetPrefix())
	}
	return false
}
