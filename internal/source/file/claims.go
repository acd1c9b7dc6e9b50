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
	// observed is the folder of what controllers made, "" for none.
	observed string
	by       map[objectID][]claim
	set      config.Set
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
	if users := slices.DeleteFunc(slices.Clone(all), func(cl claim) bool { return cl.file == "" || c.isObserved(cl) }); len(users) > 1 {
		c.twice[id] = struct{}{}
	}
	c.set = c.set.With(c.inForce(id))
}

func (c *claims) isObserved(cl claim) bool {
	return c.observed != "" && filepath.Dir(cl.file) == c.observed
}

// inForce is the first claim. What controllers made of a user's object keeps
// its place in the user's file, for findings.
func (c *claims) inForce(id objectID) *config.Object {
	all := c.by[id]
	first := all[0].object
	if len(all) == 1 || !c.isObserved(all[0]) {
		return first
	}
	placed := *first
	placed.File, placed.Line = all[1].object.File, all[1].object.Line
	if was, ok := c.set.Of(id.kind).Get(id.key); ok && was.Line == placed.Line && was.Equal(&placed) {
		return was
	}
	return &placed
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
	case c.isObserved(a) != c.isObserved(b):
		if c.isObserved(a) {
			return -1
		}
		return 1
	}
	if d := c.rank[filepath.Dir(a.file)] - c.rank[filepath.Dir(b.file)]; d != 0 {
		return d
	}
	return strings.Compare(a.file, b.file)
}

// findingTwice: two files hold one object.
var findingTwice = diag.Finding{Code: "WEFT0006", Cure: "remove one of them; the first in the order of the files is in force"}

// conflicts are the findings about objects that stand in several places.
func (c *claims) conflicts() (found []diag.Diagnostic) {
	for id := range c.twice {
		users := slices.DeleteFunc(slices.Clone(c.by[id]), func(cl claim) bool { return cl.file == "" || c.isObserved(cl) })
		first := users[0].object
		for _, cl := range users[1:] {
			l := diag.For(cl.object.Ref())
			l.Add(findingTwice, "metadata.name", "the object is also in %s:%d", first.File, first.Line)
			found = append(found, l.All()...)
		}
	}
	diag.Sort(found)
	return found
}
