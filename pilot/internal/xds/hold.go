package xds

import (
	"bytes"
	"encoding/binary"

	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// lacking are the clusters that the client refused and has no older version
// of, each as a serialised message holds its name: with its length before it.
// Usually there are none.
func (s *stream) lacking(w *watch) (out [][]byte) {
	clusters := s.watches[snapshot.Cluster]
	if clusters == nil || !usesClusters(w.typeURL) {
		return nil
	}
	for name, r := range clusters.refused {
		if r.version != "" && !clusters.holds(name) {
			out = append(out, append(binary.AppendUvarint(nil, uint64(len(name))), name...))
		}
	}
	return out
}

// holds reports whether the client was sent a resource and has not refused it.
func (w *watch) holds(name string) bool {
	for i := range w.lanes {
		if _, ok := w.lanes[i].sent.Get(name); ok {
			return true
		}
	}
	return false
}

// needs reports whether an update leads to a cluster that the client lacks,
// where the version that it has does not. What is new goes all the same: most
// of it may work, and there is no older version to stay with.
func needs(ch change, lacking [][]byte) bool {
	if !ch.InOld || !ch.InNew {
		return false
	}
	for _, name := range lacking {
		if bytes.Contains(ch.New.Body, name) && !bytes.Contains(ch.Old.Body, name) {
			return true
		}
	}
	return false
}

// heldBack reports whether a type's updates wait for clusters that the client
// refused. What they lead to now must stay meanwhile.
func (s *stream) heldBack() bool {
	for _, w := range s.watches {
		if w.waiting {
			return true
		}
	}
	return false
}
