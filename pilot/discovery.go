package pilot

import (
	"context"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/source"
)

// discovered is a source without what MeshConfig's discoverySelectors do not
// select: keys of it are not fetched, and nothing is said of it. The compiler
// leaves it out too, for there it must hold for every set, such as that of an
// admission review with another MeshConfig, while what fetches keys comes before
// the compiler; what was left out once costs nothing to leave out again.
type discovered struct{ source.Source }

// Run is the source's.
func (s discovered) Run(ctx context.Context, publish func(source.State)) error {
	var d config.Discovery
	return s.Source.Run(ctx, func(state source.State) { //nolint:wrapcheck // it is the source's own
		state.Set = d.Set(state.Set)
		publish(state)
	})
}
