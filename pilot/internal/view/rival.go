package view

import (
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// settleRivals derives, of services by key, those by host. Where several
// namespaces have declared one host, that of the proxy's own namespace holds,
// else the first that it sees (Istio, ServiceEntry.exportTo).
func settleRivals(in *inputs, seen *memo.Cell[*model.Service]) *memo.Derived[*model.Service, *model.Service] {
	rivals := memo.Group(in.graph, seen, func(_ string, s *model.Service) []string {
		if s.Rival || s.Contested {
			return []string{s.Host}
		}
		return nil
	})
	return memo.Flat(in.graph, seen, func(r *memo.Reader, _ string, s *model.Service, emit memo.Emit[*model.Service]) {
		if !s.Rival && !s.Contested {
			emit(s.Host, s)
			return
		}
		all, _ := memo.Get(r, &rivals.Cell, s.Host)
		if chosen(in, r, all) == s {
			emit(s.Host, s)
		}
	})
}

func chosen(in *inputs, r *memo.Reader, all memo.Table[*model.Service]) (first *model.Service) {
	for _, s := range all.All() {
		if in.home(r, s.Namespace) {
			return s
		}
		if first == nil || s.Rank < first.Rank {
			first = s
		}
	}
	return first
}
