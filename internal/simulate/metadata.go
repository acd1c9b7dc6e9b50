package simulate

import (
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// matchMetadata evaluates envoy.type.matcher.v3.MetadataMatcher on what filters
// said of the request.
func (w walk) matchMetadata(m *matcher.MetadataMatcher) (bool, error) {
	if err := checkKnown(m); err != nil {
		return false, err
	}
	value := structpb.NewStructValue(w.metadata[m.GetFilter()])
	for _, s := range m.GetPath() {
		value = value.GetStructValue().GetFields()[s.GetKey()]
	}
	holds, err := matchValue(m.GetValue(), value)
	return holds != m.GetInvert(), err
}

// matchValue evaluates envoy.type.matcher.v3.ValueMatcher; nothing matches what
// is not there.
func matchValue(m *matcher.ValueMatcher, value *structpb.Value) (bool, error) {
	switch p := m.GetMatchPattern().(type) {
	case *matcher.ValueMatcher_StringMatch:
		text, ok := value.GetKind().(*structpb.Value_StringValue)
		if !ok {
			return false, nil
		}
		return matchString(p.StringMatch, text.StringValue)
	case *matcher.ValueMatcher_ListMatch:
		return anyOf(value.GetListValue().GetValues(), func(v *structpb.Value) (bool, error) { return matchValue(p.ListMatch.GetOneOf(), v) })
	case *matcher.ValueMatcher_OrMatch:
		return anyOf(p.OrMatch.GetValueMatchers(), func(m *matcher.ValueMatcher) (bool, error) { return matchValue(m, value) })
	}
	return false, unknown("value matcher %T", m.GetMatchPattern())
}
