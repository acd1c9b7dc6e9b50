package random

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/config"
)

// Corpus is what random objects stand among, and the objects of cases, which
// are right to begin with.
type Corpus struct {
	world config.Set
	cases [][][]byte // of each case its objects, as JSON
}

// Load reads a folder of cases: world.yaml, and config.yaml of each txtar.
func Load(folder string) (*Corpus, error) {
	text, err := os.ReadFile(filepath.Join(folder, "world.yaml"))
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.txtar"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no cases in %s: %w", folder, err)
	}
	c := &Corpus{world: with(config.Set{}, text)}
	for _, name := range files {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			return nil, err
		}
		var objects [][]byte
		for _, part := range archive.Files {
			if part.Name != "config.yaml" {
				continue
			}
			for _, d := range config.Documents(name, part.Data) {
				if d.Err == nil {
					objects = append(objects, d.JSON)
				}
			}
		}
		if len(objects) > 0 {
			c.cases = append(c.cases, objects)
		}
	}
	return c, nil
}

// Objects makes the set of a seed: new objects, and those of a case with some
// fields changed. Kinds that are left out are in neither.
func (c *Corpus) Objects(seed uint64, without ...config.Kind) (out []Tree) {
	m, kinds := New(seed), Kinds()
	left := map[any]bool{}
	for _, k := range without {
		left[string(k)] = true
	}
	for i := range 6 {
		if o := m.Object(kinds[(seed+uint64(i)*5)%uint64(len(kinds))]); !left[o["kind"]] {
			out = append(out, o)
		}
	}
	for _, text := range c.cases[seed%uint64(len(c.cases))] {
		var o Tree
		if err := yaml.Unmarshal(text, &o); err != nil || left[o["kind"]] {
			continue // a case of what is no object
		}
		m.Vary(o)
		out = append(out, o)
	}
	return out
}

// Set is the world with objects in it, as they come out of YAML; those that are
// not decoded are left out.
func (c *Corpus) Set(objects []Tree) config.Set { return with(c.world, YAML(objects...)) }

func with(set config.Set, text []byte) config.Set {
	objects, _ := config.Decode("random.yaml", text)
	for _, o := range objects {
		set = set.With(o)
	}
	return set
}
