// Package apis holds the CustomResourceDefinitions of Istio's API, and the
// support ledger: what Weft does with each field of it.
//
// In: support.yaml and crds, embedded. Out: Ledger, and CRDs as text. Imports:
// the standard library and sigs.k8s.io/yaml only; both are compared with
// istio.io/api, crds by `go generate`, the ledger in its test.
package apis

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

//go:generate go run ./internal/supportgen ../docs/api-support.md

//go:embed support.yaml
var supportYAML []byte

// Status of a field; the zero value is none, for a field without a row.
type Status string

// A supported field does what Istio documents. A refused one has no effect and
// gives an error when set; an unused one has no effect that the mesh would be
// wrong or unsafe without, and gives a warning; an ignored one has no effect
// and needs neither.
const (
	Supported Status = "supported"
	Refused   Status = "refused"
	Unused    Status = "unused"
	Ignored   Status = "ignored"
)

// Row is the ledger's word on one field or kind. Why is empty for supported
// ones, Cases for all others: names of files of pilot/testdata in which the
// field's behaviour is called for.
type Row struct {
	Status Status
	Why    string
	Cases  []string
}

// Ledger is the parsed support.yaml.
type Ledger struct {
	kinds    map[string]Row
	messages map[string]map[string]Row
}

// Support parses the ledger that is built in. An error names the row.
func Support() (*Ledger, error) {
	var file struct {
		Kinds    map[string]string            `json:"kinds"`
		Messages map[string]map[string]string `json:"messages"`
	}
	if err := yaml.UnmarshalStrict(supportYAML, &file); err != nil {
		return nil, fmt.Errorf("apis/support.yaml: %w", err)
	}
	l := &Ledger{messages: map[string]map[string]Row{}}
	var err error
	if l.kinds, err = rows("kinds", file.Kinds); err != nil {
		return nil, err
	}
	for message, fields := range file.Messages {
		if l.messages[message], err = rows(message, fields); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func rows(of string, in map[string]string) (map[string]Row, error) {
	out := make(map[string]Row, len(in))
	for name, text := range in {
		status, why, _ := strings.Cut(text, ", ")
		row := Row{Status: Status(status), Why: why}
		switch row.Status {
		case Supported:
			cases, found := strings.CutPrefix(why, "see ")
			if why != "" && !found {
				return nil, fmt.Errorf("apis/support.yaml: %s.%s: a supported row is \"supported\" or \"supported, see CASE...\"", of, name)
			}
			row.Why, row.Cases = "", strings.Fields(cases)
		case Refused, Unused, Ignored:
			if why == "" {
				return nil, fmt.Errorf("apis/support.yaml: %s.%s: say why it is %s", of, name, status)
			}
		default:
			return nil, fmt.Errorf("apis/support.yaml: %s.%s: status %q is none of supported, refused, unused, ignored", of, name, status)
		}
		out[name] = row
	}
	return out, nil
}

// Kind returns the row of a whole kind; the zero Row if its fields have rows.
func (l *Ledger) Kind(kind string) Row { return l.kinds[kind] }

// Field returns the row of a field, by the full name of its protobuf message
// and its name in YAML; the zero Row if the ledger does not know it.
func (l *Ledger) Field(message, field string) Row {
	if row, ok := l.messages[message][field]; ok {
		return row
	}
	return l.messages[message]["*"]
}

// Kinds and Messages list what has rows, sorted; Fields those of a message.
func (l *Ledger) Kinds() []string { return slices.Sorted(maps.Keys(l.kinds)) }

// Messages lists the messages that have rows, sorted.
func (l *Ledger) Messages() []string { return slices.Sorted(maps.Keys(l.messages)) }

// Fields lists the rows of a message, sorted; "*" stands for all others.
func (l *Ledger) Fields(message string) []string {
	return slices.Sorted(maps.Keys(l.messages[message]))
}
