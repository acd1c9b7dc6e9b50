package model

import "cmp"

// Callee is a service that proxies call of their own: an external authorizer,
// or what collects traces.
type Callee struct {
	// Namespace and Host are those of the service. Without a Namespace it is the
	// only one of its host that the root namespace sees: what another keeps to
	// itself must neither take the mesh's calls nor turn them off.
	Namespace, Host string
	Port            uint32
}

// Find returns the service; nil if there is none. services gives that of a key.
func (c Callee) Find(services func(key string) (*Service, bool)) *Service {
	s, ok := services(c.Host)
	if !ok || c.Namespace == "" && s.Hidden {
		return nil
	}
	if namespace := cmp.Or(c.Namespace, s.Seen, s.Namespace); namespace != s.Namespace {
		if s, ok = services((&Service{Host: c.Host, Namespace: namespace, Rival: true}).Key()); !ok {
			return nil
		}
	}
	return s
}

// Reaches returns the port of the service that is called. It is false where
// proxies cannot call it of their own: the service has no such port, or no
// address but the one that a client dialled.
func (c Callee) Reaches(s *Service) (Port, bool) {
	port, ok := s.Port(c.Port)
	callable := s.Resolve == ResolveEndpoints || s.Resolve.ByDNS()
	return port, ok && callable && s.AliasOf == "" && port.Protocol != ProtocolUDP
}
