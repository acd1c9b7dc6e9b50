package file

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
)

// objectID tells objects apart within a set.
type objectID struct {
	kind config.Kind
	key  string
}

func idOf(o *config.Object) objectID { return objectID{o.Kind, o.Key()} }

// claim is an object and the file that it stands in, "" for one given by the
// program.
type claim struct {
	file   string
	object *config.Object
}

// claims keeps the set up to date at the cost of what a file changed: where
// several files hold one object, the first in the order of folders and names
// is in force.
type claims struct {
	rank map[string]int // of a folder
	by   map[objectID][]claim
	set  config.Set
	// twice are the objects with more than one claim.
	twice map[objectID]struct{}
}

func newClaims(folders []string, extra []*config.Object) claims {
	c := claims{rank: map[string]int{}, by: map[objectID][]claim{}, twice: map[objectID]struct{}{}}
	for i, f := range folders {
		c.rank[filepath.Clean(f)] = i
	}
	c.replace("", nil, extra)
	return c
}

// replace puts the objects next of a file in the place of old.
func (c *claims) replace(file string, old, next []*config.Object) {
	touched := map[objectID]struct{}{}
	for _, o := range old {
		id := idOf(o)
		touched[id] = struct{}{}
		c.by[id] = slices.DeleteFunc(c.by[id], func(cl claim) bool { return cl.file == file })
	}
	for _, o := range next {
		id := idOf(o)
		touched[id] = struct{}{}
		c.by[id] = append(c.by[id], claim{file, o})
	}
	for id := range touched {
		c.settle(id)
	}
}

func (c *claims) settle(id objectID) {
	all := c.by[id]
	delete(c.twice, id)
	if len(all) == 0 {
		delete(c.by, id)
		c.set = c.set.Without(id.kind, id.key)
		return
	}
	slices.SortStableFunc(all, c.order)
	if files := slices.DeleteFunc(slices.Clone(all), func(cl claim) bool { return cl.file == "" }); len(files) > 1 {
		c.twice[id] = struct{}{}
	}
	c.set = c.set.With(all[0].object)
}

// order puts the objects given by the program last.
func (c *claims) order(a, b claim) int {
	switch {
	case a.file == b.file:
		return 0
	case a.file == "":
		return 1
	case b.file == "":
		return -1
	}
	if d := c.rank[filepath.Dir(a.file)] - c.rank[filepath.Dir(b.file)]; d != 0 {
		return d
	}
	return strings.Compare(a.file, b.file)
}

var findingTwice = diag.Finding{Code: "WEFT0006", Cure: "remove one of them; the first in the order of the files is in force"}

// conflicts are the findings about objects that stand in several places.
func (c *claims) conflicts() (found []diag.Diagnostic) {
	for id := range c.twice {
		first := c.by[id][0].object
		for _, cl := range c.by[id][1:] {
			if cl.file == "" {
				continue
			}
			l := diag.For(cl.object.Ref())
			l.Add(findingTwice, "metadata.name", "the object is also in %s:%d", first.File, first.Line)
			found = append(found, l.All()...)
		}
	}
	diag.Sort(found)
	return found
}
