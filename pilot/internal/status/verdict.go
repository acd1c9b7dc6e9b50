package status

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/pilot/internal/xds"
)

// Types of the conditions.
const (
	Accepted   = "Accepted"
	Programmed = "Programmed"
)

// Reasons of the conditions.
const (
	reasonInvalid  = "Invalid"  // the object has an error
	reasonUnused   = "NoProxy"  // no proxy that is connected needs it
	reasonPending  = "Pending"  // proxies have yet to take it
	reasonRefused  = "Refused"  // a proxy refused it
	reasonUnknown  = "Unknown"  // another replica does not say
	reasonAccepted = "Accepted" // no error
	reasonLive     = "Live"     // on all proxies that need it
)

// condition is one of an object's two, without its time.
type condition struct {
	status  string // True, False, Unknown
	reason  string
	message string
}

// verdict is all that is said of an object; two are equal if they say the same.
type verdict struct {
	generation int64
	accepted   condition
	programmed condition
	messages   string // validationMessages, a line each: LEVEL CODE TEXT
}

// same reports whether both differ at most in how many proxies there are.
func (v verdict) same(o verdict) bool {
	v.programmed.message, o.programmed.message = "", ""
	return v == o
}

// pending reports whether the verdict is likely to change by itself soon.
func (v verdict) pending() bool {
	return v.programmed.reason == reasonPending || v.programmed.reason == reasonUnknown
}

// judge says what is true of an object.
func judge(generation int64, found []diag.Diagnostic, count Count) verdict {
	v := verdict{generation: generation, accepted: accept(found), messages: messages(found)}
	v.programmed = program(v.accepted, count)
	return v
}

func accept(found []diag.Diagnostic) condition {
	var errors []string
	for _, d := range found {
		if d.Severity == diag.Error {
			errors = append(errors, d.Brief())
		}
	}
	if len(errors) == 0 {
		return condition{"True", reasonAccepted, warned(found)}
	}
	return condition{"False", reasonInvalid, clip(strings.Join(errors, "\n"))}
}

func warned(found []diag.Diagnostic) string {
	warnings := 0
	for _, d := range found {
		if d.Severity == diag.Warning {
			warnings++
		}
	}
	switch warnings {
	case 0:
		return "the object is in force"
	case 1:
		return "the object is in force, with a warning: see validationMessages"
	}
	return fmt.Sprintf("the object is in force, with %d warnings: see validationMessages", warnings)
}

func program(accepted condition, c Count) condition {
	live := fmt.Sprintf("live on %d of %d proxies", c.Live, c.Proxies)
	if len(c.Unheard) > 0 {
		live += "; not known of the proxies of " + strings.Join(c.Unheard, ", ")
	}
	switch {
	case len(c.Refusals) > 0:
		return condition{"False", reasonRefused, clip(live + "; " + refusals(c.Refusals))}
	case accepted.status != "True":
		return condition{"False", reasonInvalid, "what of it is without an error, or its last good form, is " + live}
	case c.Live < c.Proxies:
		return condition{"False", reasonPending, live}
	case len(c.Unheard) > 0:
		return condition{"Unknown", reasonUnknown, live}
	case c.Proxies == 0:
		return condition{"False", reasonUnused, live + ": no proxy that is connected needs it"}
	}
	return condition{"True", reasonLive, live}
}

// refusals are those of a proxy for one reason in one sentence.
func refusals(list []xds.Refusal) string {
	type which struct{ proxy, message string }
	var order []which
	of := map[which][]string{}
	for _, r := range list {
		w := which{r.Proxy, r.Message}
		if of[w] == nil {
			order = append(order, w)
		}
		of[w] = append(of[w], r.Resource)
	}
	parts := make([]string, 0, len(order))
	for _, w := range order {
		parts = append(parts, fmt.Sprintf("%s refused %s: %s", w.proxy, strings.Join(of[w], ", "), w.message))
	}
	return strings.Join(parts, "; ")
}

func said(d diag.Diagnostic) string {
	if d.Path == "" {
		return d.Message
	}
	return d.Path + ": " + d.Message
}

// maxMessages and maxText bound what is written into an object.
const (
	maxMessages = 20
	maxText     = 1024
)

// clip cuts a text at a character's border.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "..."
}

func messages(found []diag.Diagnostic) string {
	lines := make([]string, 0, len(found))
	for _, d := range found[:min(len(found), maxMessages)] {
		line := strings.ToUpper(d.Severity.String()) + " " + d.Code + " " + strings.ReplaceAll(said(d), "\n", " ")
		lines = append(lines, clip(line))
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}
