// Package source says what a source of configuration is: something that
// publishes whole states. Folders, an API server and memory are sources, and
// one contract test (sourcetest) runs over all of them.
//
// Imports: config, diag. It must not import a stage of the pilot.
package source

import (
	"context"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
)

// State is everything a source knows at one moment. Two states share the
// pointers of objects that did not change.
type State struct {
	Set config.Set
	// Findings are problems of form: files and objects that could not be read.
	Findings []diag.Diagnostic
}

// Source publishes states until ctx ends. The first state is complete: it is
// published once everything was read. Publish is called by one goroutine and
// may block; states that came meanwhile are merged into the next one. Run
// returns nil when ctx ends, else why it cannot go on.
type Source interface {
	Run(ctx context.Context, publish func(State)) error
}
