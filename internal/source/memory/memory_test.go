package memory_test

import (
	"testing"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/source/memory"
	"github.com/weftmesh/weft/internal/source/sourcetest"
)

func TestContract(t *testing.T) {
	sourcetest.Run(t, func(*testing.T) sourcetest.Harness {
		s := memory.New()
		return sourcetest.Harness{
			Source: s,
			Put:    func(place, yaml string) { s.ApplyYAML(place, yaml) },
			Remove: func(place string) {
				s.ApplyYAML(place, "") // nothing is wrong any more
				s.Delete(config.Service, "shop/"+place)
				s.Delete(config.VirtualService, "shop/"+place)
			},
		}
	})
}
