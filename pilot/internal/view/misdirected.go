package view

import (
	"reflect"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// A client that has a connection to one host may send requests for another on
// it: a browser does so where the certificate covers both (RFC 9113 9.1.1). The
// other host may have a server of its own, with other certificates and other
// demands on clients. So a request whose host is not of the server that its
// connection was made to is answered 421, and the client makes a connection for
// it (RFC 9110 15.5.20).

// misdirected answers that the connection is for other hosts.
func misdirected(table, host string, port uint32) *model.VirtualHost {
	return answering(421, "misdirected", table, host, port)
}

func answering(status uint32, name, table, host string, port uint32) *model.VirtualHost {
	route := &model.Route{Name: name, Action: &model.DirectResponse{Status: status}}
	return &model.VirtualHost{Table: table, Name: routerHostName(host, port), Domains: []string{host}, Routes: []*model.Route{route}}
}

// terminates reports whether the server takes TLS off HTTP.
func (s *served) terminates() bool { return s.RouteTable != "" && secure(s) }

// everyHost reports whether the server is for all hosts.
func (s *served) everyHost() bool {
	return slices.ContainsFunc(s.Hosts, func(h model.ServerHost) bool { return h.Host == "*" })
}

func (s *served) is(other *served) bool {
	return s.gateway.Key() == other.gateway.Key() && s.index == other.index
}

func (s *served) listener() string { return listenerName(bindOf(s), s.listen) }

// serverNamesOf groups the servers that take TLS off by "listener|host".
func serverNamesOf(g *memo.Graph, servers *memo.Cell[*served]) *memo.Grouped[*served] {
	return memo.Group(g, servers, func(_ string, s *served) (keys []string) {
		for _, h := range s.Hosts {
			if key := s.listener() + "|" + h.Host; s.terminates() && !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
		return keys
	})
}

// owner is the server to which a connection with this server name goes, on the
// listener of s; nil if there is none.
func (h *routerHosts) owner(r *memo.Reader, s *served, host string) *served {
	first := func(name string) *served {
		all, _ := memo.Get(r, &h.byName.Cell, s.listener()+"|"+name)
		for _, o := range all.All() {
			return o
		}
		return nil
	}
	if o := first(host); o != nil {
		return o
	}
	for rest := strings.TrimPrefix(host, "*."); rest != ""; {
		_, rest, _ = strings.Cut(rest, ".")
		if o := first("*." + rest); o != nil && rest != "" {
			return o
		}
	}
	return first("*")
}

// elsewhere reports whether requests for host must not be taken on connections
// to s: another server, with other TLS settings, has its name.
func (h *routerHosts) elsewhere(r *memo.Reader, s *served, host string) bool {
	if !s.terminates() {
		return false
	}
	o := h.owner(r, s, host)
	return o != nil && !o.is(s) && !reflect.DeepEqual(o.TLS, s.TLS)
}

// ofOthers derives the virtual hosts that answer 421 for hosts of other servers
// within a wildcard of this one: strict those whose TLS settings differ, which
// go before routes, else lenient.
func (h *routerHosts) ofOthers(strict bool) *memo.Derived[*served, *model.VirtualHost] {
	byListener := memo.Group(h.in.graph, &h.servers.Cell, func(_ string, s *served) []string {
		if !s.terminates() {
			return nil
		}
		return []string{s.listener()}
	})
	return memo.Flat(h.in.graph, &h.servers.Cell, func(r *memo.Reader, _ string, s *served, emit memo.Emit[*model.VirtualHost]) {
		if !s.terminates() || !slices.ContainsFunc(s.Hosts, func(own model.ServerHost) bool { return strings.HasPrefix(own.Host, "*") }) {
			return
		}
		others, _ := memo.Get(r, &byListener.Cell, s.listener())
		for _, o := range others.All() {
			if o.is(s) || reflect.DeepEqual(o.TLS, s.TLS) == strict {
				continue
			}
			for _, host := range o.Hosts {
				if within := s.covers(host.Host); within && h.owner(r, s, host.Host).is(o) {
					vh := misdirected(s.RouteTable, host.Host, s.Port)
					emit(vh.Table+"/"+vh.Name, vh)
				}
			}
		}
	}, memo.Same(sameHost))
}

// covers reports whether the server has host by a wildcard, and not by its name.
func (s *served) covers(host string) bool {
	named := slices.ContainsFunc(s.Hosts, func(own model.ServerHost) bool { return own.Host == host })
	return !named && slices.ContainsFunc(s.Hosts, func(own model.ServerHost) bool { return covers(own.Host, host) })
}

// unrouted derives the virtual hosts of a server's own hosts, for those that no
// VirtualService routes: 404. What is not of these is misdirected.
func (h *routerHosts) unrouted() *memo.Derived[*served, *model.VirtualHost] {
	return memo.Flat(h.in.graph, &h.servers.Cell, func(_ *memo.Reader, _ string, s *served, emit memo.Emit[*model.VirtualHost]) {
		for _, host := range s.Hosts {
			if s.terminates() && !s.everyHost() {
				vh := answering(404, "fallback", s.RouteTable, host.Host, s.Port)
				emit(vh.Table+"/"+vh.Name, vh)
			}
		}
	}, memo.Same(sameHost))
}

// routerTable makes a gateway's table; one whose servers are not for all hosts
// answers others with 421.
func routerTable(name string, servers memo.Table[*served]) *model.RouteTable {
	t := &model.RouteTable{Name: name, Fallback: model.FallbackMisdirected}
	for _, s := range servers.All() {
		if !s.terminates() || s.everyHost() {
			t.Fallback = model.FallbackNotFound
		}
	}
	return t
}
