package simulate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// Headers are header values by lower-case name. A nil map is none.
type Headers map[string][]string

// Get joins the values of name with ","; ok says whether there is any.
func (h Headers) Get(name string) (value string, ok bool) {
	values := h[strings.ToLower(name)]
	return strings.Join(values, ","), len(values) > 0
}

// Values are those of name, one for each line.
func (h Headers) Values(name string) []string { return slices.Clone(h[strings.ToLower(name)]) }

// With returns a copy in which name has the given values.
func (h Headers) With(name string, values ...string) Headers {
	out := maps.Clone(h)
	if out == nil {
		out = Headers{}
	}
	out[strings.ToLower(name)] = values
	return out
}

// edits are the header changes of one level: route table, virtual host, route
// or weighted cluster.
type edits struct {
	add    []*core.HeaderValueOption
	remove []string
}

// apply returns h with e done to it: removals first, then additions in order.
// Source: "Custom request/response headers" of Envoy's documentation.
func (e edits) apply(h Headers, expand func(string) (string, error)) (Headers, error) {
	for _, name := range e.remove {
		h = h.With(name)
	}
	for _, option := range e.add {
		if err := checkKnown(option); err != nil {
			return nil, err
		}
		name := strings.ToLower(option.GetHeader().GetKey())
		value, err := expand(headerValue(option))
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		if value == "" && !option.GetKeepEmptyValue() {
			continue
		}
		if h, err = appendHeader(h, name, value, option); err != nil {
			return nil, err
		}
	}
	return h, nil
}

func headerValue(option *core.HeaderValueOption) string {
	if raw := option.GetHeader().GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return option.GetHeader().GetValue()
}

func appendHeader(h Headers, name, value string, option *core.HeaderValueOption) (Headers, error) {
	action := option.GetAppendAction()
	if option.GetAppend() != nil { // the older field decides where it is set
		action = core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
		if option.GetAppend().GetValue() {
			action = core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		}
	}
	old := h[name]
	switch action {
	case core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
		return h.With(name, append(slices.Clone(old), value)...), nil
	case core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
		return h.With(name, value), nil
	case core.HeaderValueOption_ADD_IF_ABSENT:
		if len(old) > 0 {
			return h, nil
		}
		return h.With(name, value), nil
	case core.HeaderValueOption_OVERWRITE_IF_EXISTS:
		if len(old) == 0 {
			return h, nil
		}
		return h.With(name, value), nil
	}
	return nil, unknown("append_action %v", action)
}

// levels are the edits that bear on the request, in the order in which they
// are made: from the most specific to the least, or the other way round where
// the table says that the most specific wins.
func (w walk) levels(response bool) []edits {
	pick := func(level interface {
		GetRequestHeadersToAdd() []*core.HeaderValueOption
		GetRequestHeadersToRemove() []string
		GetResponseHeadersToAdd() []*core.HeaderValueOption
		GetResponseHeadersToRemove() []string
	}) edits {
		if response {
			return edits{level.GetResponseHeadersToAdd(), level.GetResponseHeadersToRemove()}
		}
		return edits{level.GetRequestHeadersToAdd(), level.GetRequestHeadersToRemove()}
	}
	var all []edits
	if w.weighted != nil {
		all = append(all, pick(w.weighted))
	}
	all = append(all, pick(w.route), pick(w.vhost), pick(w.table))
	if w.table.GetMostSpecificHeaderMutationsWins() {
		slices.Reverse(all)
	}
	return all
}

func (w walk) editHeaders(h Headers, response bool) (Headers, error) {
	var err error
	for _, level := range w.levels(response) {
		if h, err = level.apply(h, w.expand); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// expand replaces the command operators of a header value. Those that name
// something outside of the request are errors: a test that needs one needs the
// simulator to learn it.
func (w walk) expand(format string) (string, error) {
	var out strings.Builder
	for rest := format; ; {
		before, after, found := strings.Cut(rest, "%")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		if strings.HasPrefix(after, "%") {
			out.WriteByte('%')
			rest = after[1:]
			continue
		}
		operator, tail, closed := strings.Cut(after, "%")
		if !closed {
			return "", fmt.Errorf("unclosed %% in %q", format)
		}
		value, err := w.operator(operator)
		if err != nil {
			return "", err
		}
		out.WriteString(value)
		rest = tail
	}
}

func (w walk) operator(op string) (string, error) {
	if name, ok := strings.CutPrefix(op, "REQ("); ok {
		name, other, _ := strings.Cut(strings.TrimSuffix(name, ")"), "?")
		if value, ok := w.lookup(name); ok || other == "" {
			return value, nil
		}
		return w.requestHeader(other), nil
	}
	switch op {
	case "DOWNSTREAM_REMOTE_ADDRESS":
		return w.conn.source.String(), nil
	case "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":
		return w.conn.source.Addr().String(), nil
	case "DOWNSTREAM_LOCAL_ADDRESS":
		return w.conn.destination.String(), nil
	case "DOWNSTREAM_PEER_URI_SAN":
		if w.call.TLS == nil {
			return "", nil
		}
		return w.call.TLS.Identity, nil
	}
	return "", unknown("command operator %%%s%%", op)
}

// requestHeader is the value of a header or pseudo-header of the request as it
// stands; "" when it is absent.
func (w walk) requestHeader(name string) string {
	value, _ := w.lookup(name)
	return value
}

// lookup is requestHeader that also says whether the header is there.
func (w walk) lookup(name string) (string, bool) {
	values := w.values(name)
	return strings.Join(values, ","), len(values) > 0
}

// values are the lines of a header or pseudo-header.
func (w walk) values(name string) []string {
	r := w.out.Request
	switch strings.ToLower(name) {
	case ":authority", "host":
		if r.Host == "" {
			return nil
		}
		return []string{r.Host}
	case ":path":
		return []string{r.Path}
	case ":method":
		return []string{r.Method}
	case ":scheme":
		return []string{r.Scheme}
	}
	return r.Headers[strings.ToLower(name)]
}
