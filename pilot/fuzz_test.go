package pilot

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/compile"
	"github.com/weftmesh/weft/pilot/internal/translate"
	"github.com/weftmesh/weft/pilot/internal/view"
)

// FuzzYAMLToEnvoy takes YAML through all stages: nothing panics, and what
// Envoy's own validation refuses is found where the object is compiled, not
// after it was translated.
func FuzzYAMLToEnvoy(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("no cases: %v", err)
	}
	world, err := os.ReadFile("testdata/world.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range archive.Files {
			if part.Name == "config.yaml" || part.Name == "after.yaml" {
				f.Add(part.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var set config.Set
		for _, file := range [][]byte{world, text} {
			objects, _ := config.Decode("fuzz.yaml", file)
			for _, o := range objects {
				set = set.With(o)
			}
		}
		mesh := compile.Mesh(set).Mesh
		found := Check(set)
		for _, d := range found {
			if d.Code == wouldNack.Code {
				t.Fatal(d)
			}
		}
		for _, proxy := range []model.Proxy{
			{Proven: true, Sidecar: true, Namespace: "default", Labels: map[string]string{"app": "reviews"}},
			{Proven: true, Namespace: "weft-system", Labels: map[string]string{"istio": "ingressgateway"}},
		} {
			Translate(set, proxy)
			for _, class := range view.Classes(mesh, proxy) {
				stage := translate.New()
				stage.Snapshot(view.Of(mesh, class))
				if p := stage.Problems(); len(p) > 0 && len(found) == 0 { // an EnvoyFilter that cannot be applied is one too
					t.Fatalf("Envoy would refuse %s %s (%s), and nothing is said of it", p[0].Type, p[0].Name, p[0].Reason)
				}
			}
		}
	})
}
