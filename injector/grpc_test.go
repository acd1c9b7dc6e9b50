package injector

import (
	"testing"

	"github.com/weftmesh/weft/internal/agent/grpcbootstrap"
)

// TestGRPCVariables are those that the agent's bootstrap is made for.
func TestGRPCVariables(t *testing.T) {
	if bootstrapVariable != grpcbootstrap.PathVariable || namingVariable != grpcbootstrap.SNIVariable {
		t.Error(bootstrapVariable, namingVariable)
	}
}
