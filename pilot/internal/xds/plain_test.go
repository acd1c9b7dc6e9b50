package xds

import (
	"testing"
	"time"

	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// TestRefusedPatchGoesPlain: a proxy that refuses a resource which EnvoyFilters
// edited, and has no older one, gets it without them; the edited one is held
// back until it changes.
func TestRefusedPatchGoesPlain(t *testing.T) {
	plain := snapshot.New(snapshot.Listener, "a", []byte("plain"))
	edited := snapshot.New(snapshot.Listener, "a", []byte("edited"), "EnvoyFilter/default/f")
	edited.Plain = plain
	w := newWatch(snapshot.Listener, 1)
	w.lanes[0].sent = w.lanes[0].sent.With("a", edited)
	w.flight = &flight{items: []item{one(0, "a", edited, true)}, before: []table{{}}}
	if culprits := w.nack("Error adding/updating listener(s) a: no good", time.Now()); len(culprits) != 1 {
		t.Fatalf("culprits: %+v", culprits)
	}
	if len(w.rollback) != 1 || w.rollback[0].res != plain {
		t.Fatalf("rolled back to %+v", w.rollback)
	}
	// What the client has must be known, so that it can be removed.
	if held, _ := w.lanes[0].sent.Get("a"); held != plain {
		t.Errorf("the client counts as having %+v", held)
	}
	if !w.holdsBack("a", edited) || w.holdsBack("a", snapshot.New(snapshot.Listener, "a", []byte("mended"))) {
		t.Error("the edited one is to be held back, and what replaces it to be sent")
	}
}
