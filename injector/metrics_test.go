package injector

import (
	"testing"

	"github.com/weftmesh/weft/test/listed"
)

func TestMetricsAreListed(t *testing.T) {
	o := Options{Version: "1.0.0"}.withDefaults()
	(&injector{Options: o}).reviewer()
	listed.Metrics(t, "injector", o.Metrics, *update)
}
