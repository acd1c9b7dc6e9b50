package compile

import (
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// deniedBySetting, on MeshConfig's object, is whether who is denied is told by
// which policy.
const deniedBySetting = "weft.mesh/denied-by"

func deniedBy(o *config.Object, d *diag.List) model.DeniedBy {
	return chosen(o, deniedBySetting, []model.DeniedBy{model.DeniedByUntold, model.DeniedByHeader}, model.DeniedByUntold, d)
}
