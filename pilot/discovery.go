package pilot

import (
	"context"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/source"
)

// discovered is a source without what MeshConfig's discoverySelectors do not
// select: keys of it are not fetched, and nothing is said of it.
type discovered struct{ source.Source }

// Run is the source's.
func (s discovered) Run(ctx context.Context, publish func(source.State)) error {
	var d config.Discovery
	return s.Source.Run(ctx, func(state source.State) { //nolint:wrapcheck // it is the source's own
		state.Set = d.Set(state.Set)
		publish(state)
	})
}
