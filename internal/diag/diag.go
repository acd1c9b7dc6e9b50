// Package diag is the one form in which anything is said about a user's
// object: by the compiler, the webhook, weft analyze, and status.
//
// In: findings with object and field path. Out: values that sort and print.
// Imports: the standard library only.
package diag

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity orders findings; the zero value is Error.
type Severity int

// Error: a part of the object is not in force. Warning: in force, but likely
// not as meant. Info: worth knowing.
const (
	Error Severity = iota
	Warning
	Info
)

// String returns "error", "warning" or "info".
func (s Severity) String() string {
	return [...]string{"error", "warning", "info"}[min(max(s, Error), Info)]
}

// MarshalText makes JSON and YAML show the word.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word.
func (s *Severity) UnmarshalText(text []byte) error {
	for _, known := range []Severity{Error, Warning, Info} {
		if known.String() == string(text) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("severity %q: it is error, warning or info", text)
}

// Object names what a finding is about. File and Line (from 1; 0 unknown) are
// set where it came from a file.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
}

// String gives "VirtualService default/reviews".
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// Diagnostic is one finding. Code is stable (IST0101 where Istio has the same
// meaning, else WEFT...). Path is the field path ("spec.http[0].route[1]"),
// empty for the whole object. Message says what is wrong; Cure what to do.
type Diagnostic struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Object   Object   `json:"object"`
	Path     string   `json:"path,omitempty"`
	Message  string   `json:"message"`
	Cure     string   `json:"cure,omitempty"`
}

// String gives one line: file:line: severity code object path: message; cure.
func (d Diagnostic) String() string {
	var b strings.Builder
	if d.Object.File != "" {
		fmt.Fprintf(&b, "%s:%d: ", d.Object.File, d.Object.Line)
	}
	fmt.Fprintf(&b, "%s %s %s", d.Severity, d.Code, d.Object)
	if d.Path != "" {
		b.WriteString(" " + d.Path)
	}
	b.WriteString(": " + d.Message)
	if d.Cure != "" {
		b.WriteString("; " + d.Cure)
	}
	return b.String()
}

// Brief is String without file, severity and object, for a reader who knows
// them: code path: message; cure.
func (d Diagnostic) Brief() string {
	out := d.Code
	if d.Path != "" {
		out += " " + d.Path
	}
	out += ": " + d.Message
	if d.Cure != "" {
		out += "; " + d.Cure
	}
	return out
}

// Sort orders findings by severity, object, path and message, in place.
func Sort(ds []Diagnostic) {
	slices.SortFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), strings.Compare(a.Object.Kind, b.Object.Kind),
			strings.Compare(a.Object.Namespace, b.Object.Namespace), strings.Compare(a.Object.Name, b.Object.Name),
			strings.Compare(a.Object.File, b.Object.File), cmp.Compare(a.Object.Line, b.Object.Line),
			strings.Compare(a.Path, b.Path), strings.Compare(a.Code, b.Code), strings.Compare(a.Message, b.Message))
	})
}

// Path is a field path under construction, such as spec.http[0].timeout.
type Path string

// Field appends a field name.
func (p Path) Field(name string) Path {
	if p == "" {
		return Path(name)
	}
	return p + "." + Path(name)
}

// Index appends a list position, from 0.
func (p Path) Index(i int) Path { return p + Path(fmt.Sprintf("[%d]", i)) }

// Key appends a map key.
func (p Path) Key(k string) Path { return p + Path(fmt.Sprintf("[%q]", k)) }

// List collects the findings about one object. The zero List drops the object
// name; make it with For.
type List struct {
	object Object
	found  []Diagnostic
}

// For returns an empty list for one object.
func For(o Object) *List { return &List{object: o} }

// Finding is a code with its meaning, declared once beside the check.
type Finding struct {
	Code     string
	Severity Severity
	Cure     string
}

// Add reports f at path.
func (l *List) Add(f Finding, at Path, format string, args ...any) {
	l.found = append(l.found, Diagnostic{Code: f.Code, Severity: f.Severity, Object: l.object, Path: string(at), Message: fmt.Sprintf(format, args...), Cure: f.Cure})
}

// All returns what was found, in the order of reporting.
func (l *List) All() []Diagnostic { return l.found }
