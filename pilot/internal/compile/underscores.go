package compile

import (
	"fmt"
	"strings"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// underscoresSetting, on MeshConfig's object, is what gateways do with requests
// that have a header with an underscore in its name.
const underscoresSetting = "weft.mesh/headers-with-underscores"

func underscores(o *config.Object, d *diag.List) model.Underscores {
	return chosen(o, underscoresSetting, []model.Underscores{model.UnderscoresReject, model.UnderscoresDrop, model.UnderscoresAllow}, model.UnderscoresReject, d)
}

// chosen is which of the words that a setting may have an object's annotation
// says: the first without one, fallback for a word that is none of them.
func chosen[T fmt.Stringer](o *config.Object, setting string, words []T, fallback T, d *diag.List) T {
	text, ok := o.Annotations[setting]
	if !ok {
		return words[0]
	}
	var names []string
	for _, word := range words {
		if strings.TrimSpace(text) == word.String() {
			return word
		}
		names = append(names, word.String())
	}
	last := len(names) - 1
	d.Add(diag.BadAnnotation, diag.Path("metadata.annotations").Key(setting), "%q is none of %s and %s; %v is in force", text, strings.Join(names[:last], ", "), names[last], fallback)
	return fallback
}
