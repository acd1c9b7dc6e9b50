package pilot

import (
	"slices"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/pilot/internal/compile"
)

// keeper holds an object at its last good form while its newest is wrong by
// itself: what the webhook refuses must not take effect where no webhook was
// asked. An object that never was good is compiled as far as it can be. The
// engine's goroutine uses it.
//
// Why: docs/decisions/015-the-last-good-form.md.
type keeper struct {
	inForce config.Set      // as it was compiled last
	held    map[string]kept // by "Kind/namespace/name"
}

// kept is an object that is held.
type kept struct {
	good, wrong *config.Object
	findings    *compile.Findings // about wrong
}

// compile compiles a set, with the objects that are held in their last good
// form and the findings in those of their newest.
func (k *keeper) compile(c *compiler, set config.Set) compile.Result {
	next := k.hold(set)
	result := c.Mesh(next)
	if more := k.mistakes(set, next, result); len(more) > 0 {
		for key, h := range more {
			k.held[key] = h
		}
		next = k.hold(set)
		result = c.Mesh(next)
	}
	for key, h := range k.held {
		result.Findings = result.Findings.With(key, h.findings)
	}
	k.inForce = next
	return result
}

// hold puts the last good forms into a set, and lets go of objects that are not
// any more what was wrong.
func (k *keeper) hold(set config.Set) config.Set {
	out := set
	for key, h := range k.held {
		now, ok := set.Of(h.wrong.Kind).Get(h.wrong.Key())
		if ok && now.UID == h.wrong.UID && now.Generation == h.wrong.Generation {
			out = out.With(h.good)
		} else {
			delete(k.held, key)
		}
	}
	return out
}

// mistakes are the objects that were good in the last set and are wrong by
// themselves in the next.
func (k *keeper) mistakes(set, next config.Set, result compile.Result) map[string]kept {
	out := map[string]kept{}
	for _, kind := range config.IstioKinds() {
		for ch := range memo.Diff(k.inForce.Of(kind), next.Of(kind)) {
			if !ch.InOld || !ch.InNew || ch.Old.UID != ch.New.UID {
				continue
			}
			key := string(kind) + "/" + ch.Key
			found, ok := result.Findings.Get(key)
			if ok && slices.ContainsFunc(found.List, isError) && wrong(set, ch.New) && !wrong(set, ch.Old) {
				out[key] = kept{good: ch.Old, wrong: ch.New, findings: found}
			}
		}
	}
	return out
}

func isError(d diag.Diagnostic) bool { return d.Severity == diag.Error }

// wrong reports whether the webhook would refuse an object.
func wrong(set config.Set, o *config.Object) bool {
	return slices.ContainsFunc(byItself(set, o), isError)
}
