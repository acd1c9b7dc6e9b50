package pilot

import (
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
)

// reviewer says what is wrong with an object that is to be stored, for the
// webhook. Any goroutine may ask it.
type reviewer struct {
	current func() (config.Set, bool) // false: nothing was read yet

	mu sync.Mutex
	// compiler holds the mesh as it was with the last object that was asked
	// about, so that the next costs what differs. It is given up when nobody
	// has asked for a while: it is as large as the pilot's own.
	compiler *compiler
	idle     *time.Timer
}

// reviewIdle is how long the reviewer's compiler is kept.
const reviewIdle = time.Minute

// later are findings that something else is missing, which may come later:
// they never refuse an object.
var later = []string{diag.NotFound.Code, diag.PortNeeded.Code, diag.BadCredential.Code, diag.NoMatch.Code, diag.NobodySelected.Code, diag.KeysMissing.Code, diag.KeysOld.Code, diag.NoAuthorizer.Code}

// check implements webhook.Check.
func (r *reviewer) check(o *config.Object) (own, other []diag.Diagnostic) {
	set, there := r.current()
	own = byItself(set, o)
	if !there {
		return own, nil
	}
	said := make(map[diag.Diagnostic]bool, len(own)) // an object may have thousands
	for _, d := range own {
		said[d] = true
	}
	for _, d := range about(o, r.findings(set.With(o), o)) {
		if !said[d] {
			other = append(other, d)
		}
	}
	return own, other
}

// byItself is what is wrong with an object whatever other objects a set has.
func byItself(set config.Set, o *config.Object) (own []diag.Diagnostic) {
	alone := config.Set{}.With(o)
	for _, mesh := range set.Of(config.MeshConfig).All() {
		if o.Kind != config.MeshConfig {
			alone = alone.With(mesh)
		}
	}
	if ns, ok := set.Of(config.Namespace).Get("/" + o.Namespace); ok {
		// By its labels the object is looked at, or not.
		alone = alone.With(&config.Object{Kind: ns.Kind, Name: ns.Name, Labels: ns.Labels, Spec: ns.Spec})
	}
	for _, d := range about(o, Check(alone)) {
		if !slices.Contains(later, d.Code) {
			own = append(own, d)
		}
	}
	return own
}

// findings are those about o in a set.
func (r *reviewer) findings(set config.Set, o *config.Object) []diag.Diagnostic {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.compiler == nil {
		r.compiler = newCompiler()
	}
	found, _ := r.compiler.Mesh(set).Findings.Get(string(o.Kind) + "/" + o.Key())
	if r.idle == nil {
		r.idle = time.AfterFunc(reviewIdle, r.rest)
	} else {
		r.idle.Reset(reviewIdle)
	}
	if found == nil {
		return nil
	}
	return found.List
}

func (r *reviewer) rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.compiler = nil
}

func about(o *config.Object, all []diag.Diagnostic) []diag.Diagnostic {
	return slices.DeleteFunc(slices.Clone(all), func(d diag.Diagnostic) bool {
		return d.Object.Kind != string(o.Kind) || d.Object.Namespace != o.Namespace || d.Object.Name != o.Name
	})
}
