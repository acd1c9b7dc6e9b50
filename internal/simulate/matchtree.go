package simulate

import (
	"net/netip"
	"strconv"
	"strings"

	xds "github.com/cncf/xds/go/xds/type/matcher/v3"
	network "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// evalTree evaluates a filter_chain_matcher. Its actions are StringValues:
// names of filter chains. found is false when nothing matches.
//
// Source: xds.type.matcher.v3.Matcher; envoy's "Matching API" pages.
func (c connection) evalTree(m *xds.Matcher) (name string, found bool, err error) {
	switch t := m.GetMatcherType().(type) {
	case *xds.Matcher_MatcherList_:
		for _, field := range t.MatcherList.GetMatchers() {
			matched, err := c.predicate(field.GetPredicate())
			if err != nil {
				return "", false, err
			}
			if !matched {
				continue
			}
			if name, found, err = c.onMatch(field.GetOnMatch()); err != nil || found {
				return name, found, err
			}
		}
	case *xds.Matcher_MatcherTree_:
		if name, found, err = c.lookupTree(t.MatcherTree); err != nil || found {
			return name, found, err
		}
	case nil:
	default:
		return "", false, unknown("matcher %T", t)
	}
	if m.GetOnNoMatch() == nil {
		return "", false, nil
	}
	return c.onMatch(m.GetOnNoMatch())
}

func (c connection) onMatch(on *xds.Matcher_OnMatch) (string, bool, error) {
	if on.GetKeepMatching() {
		return "", false, unknown("keep_matching")
	}
	switch t := on.GetOnMatch().(type) {
	case *xds.Matcher_OnMatch_Matcher:
		return c.evalTree(t.Matcher)
	case *xds.Matcher_OnMatch_Action:
		action, err := t.Action.GetTypedConfig().UnmarshalNew()
		if err != nil {
			return "", false, err
		}
		if name, ok := action.(*wrapperspb.StringValue); ok {
			return name.GetValue(), true, nil
		}
		return "", false, unknown("action %T", action)
	}
	return "", false, unknown("on_match %T", on.GetOnMatch())
}

func (c connection) lookupTree(t *xds.Matcher_MatcherTree) (string, bool, error) {
	value, ok, err := c.input(t.GetInput().GetTypedConfig())
	if err != nil || !ok {
		return "", false, err
	}
	switch tree := t.GetTreeType().(type) {
	case *xds.Matcher_MatcherTree_ExactMatchMap:
		if on := tree.ExactMatchMap.GetMap()[value]; on != nil {
			return c.onMatch(on)
		}
		return "", false, nil
	case *xds.Matcher_MatcherTree_PrefixMatchMap:
		longest, found := "", false
		for prefix := range tree.PrefixMatchMap.GetMap() {
			if strings.HasPrefix(value, prefix) && len(prefix) >= len(longest) {
				longest, found = prefix, true
			}
		}
		if !found {
			return "", false, nil
		}
		return c.onMatch(tree.PrefixMatchMap.GetMap()[longest])
	case *xds.Matcher_MatcherTree_CustomMatch:
		return c.customTree(tree.CustomMatch.GetTypedConfig(), value)
	}
	return "", false, unknown("matcher tree %T", t.GetTreeType())
}

// customTree knows the IP range tree: the longest range that holds the
// address wins.
func (c connection) customTree(config *anypb.Any, value string) (string, bool, error) {
	m, err := config.UnmarshalNew()
	if err != nil {
		return "", false, err
	}
	ips, ok := m.(*xds.IPMatcher)
	if !ok {
		return "", false, unknown("custom matcher %T", m)
	}
	addr, err := netip.ParseAddr(value)
	if err != nil {
		return "", false, err
	}
	best, bits := (*xds.Matcher_OnMatch)(nil), -1
	for _, ranges := range ips.GetRangeMatchers() {
		for _, r := range ranges.GetRanges() {
			ip, err := netip.ParseAddr(r.GetAddressPrefix())
			if err != nil {
				return "", false, err
			}
			n := int(r.GetPrefixLen().GetValue())
			if prefix, err := ip.Prefix(n); err == nil && prefix.Contains(addr) && n > bits {
				best, bits = ranges.GetOnMatch(), n
			}
		}
	}
	if best == nil {
		return "", false, nil
	}
	return c.onMatch(best)
}

func (c connection) predicate(p *xds.Matcher_MatcherList_Predicate) (bool, error) {
	fold := func(list *xds.Matcher_MatcherList_Predicate_PredicateList, stop bool) (bool, error) {
		for _, each := range list.GetPredicate() {
			if matched, err := c.predicate(each); err != nil || matched == stop {
				return matched, err
			}
		}
		return !stop, nil
	}
	switch t := p.GetMatchType().(type) {
	case *xds.Matcher_MatcherList_Predicate_SinglePredicate_:
		return c.single(t.SinglePredicate)
	case *xds.Matcher_MatcherList_Predicate_OrMatcher:
		return fold(t.OrMatcher, true)
	case *xds.Matcher_MatcherList_Predicate_AndMatcher:
		return fold(t.AndMatcher, false)
	case *xds.Matcher_MatcherList_Predicate_NotMatcher:
		matched, err := c.predicate(t.NotMatcher)
		return !matched, err
	}
	return false, unknown("predicate %T", p.GetMatchType())
}

func (c connection) single(p *xds.Matcher_MatcherList_Predicate_SinglePredicate) (bool, error) {
	value, ok, err := c.input(p.GetInput().GetTypedConfig())
	if err != nil || !ok {
		return false, err
	}
	m := p.GetValueMatch()
	if m == nil {
		return false, unknown("custom_match predicate")
	}
	if err := checkKnown(m); err != nil {
		return false, err
	}
	fold := func(s string) string { return s }
	if m.GetIgnoreCase() {
		fold = strings.ToLower
	}
	switch t := m.GetMatchPattern().(type) {
	case *xds.StringMatcher_Exact:
		return fold(value) == fold(t.Exact), nil
	case *xds.StringMatcher_Prefix:
		return strings.HasPrefix(fold(value), fold(t.Prefix)), nil
	case *xds.StringMatcher_Suffix:
		return strings.HasSuffix(fold(value), fold(t.Suffix)), nil
	case *xds.StringMatcher_Contains:
		return strings.Contains(fold(value), fold(t.Contains)), nil
	case *xds.StringMatcher_SafeRegex:
		re, err := fullMatch(t.SafeRegex.GetRegex())
		return err == nil && re.MatchString(value), err
	}
	return false, unknown("string matcher %T", m.GetMatchPattern())
}

// input reads a connection's property; ok is false when it has none.
func (c connection) input(config *anypb.Any) (value string, ok bool, err error) {
	m, err := config.UnmarshalNew()
	if err != nil {
		return "", false, err
	}
	switch m.(type) {
	case *network.DestinationPortInput:
		return strconv.Itoa(int(c.destination.Port())), true, nil
	case *network.DestinationIPInput:
		return c.destination.Addr().String(), true, nil
	case *network.SourcePortInput:
		return strconv.Itoa(int(c.source.Port())), true, nil
	case *network.SourceIPInput, *network.DirectSourceIPInput:
		return c.source.Addr().String(), true, nil
	case *network.SourceTypeInput:
		return "local", c.local(), nil
	case *network.ServerNameInput:
		return c.serverName, c.serverName != "", nil
	case *network.TransportProtocolInput:
		return c.transport, c.transport != "", nil
	case *network.ApplicationProtocolInput:
		if len(c.protocols) == 0 {
			return "", false, nil
		}
		return "'" + strings.Join(c.protocols, "','") + "'", true, nil
	}
	return "", false, unknown("matcher input %T", m)
}
