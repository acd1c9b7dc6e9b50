package apis

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

//go:embed proxyless.yaml
var proxylessYAML []byte

// Effect is what a field does for a client without a proxy, where that differs
// from what it does for a sidecar; the zero value is none.
type Effect string

// Nothing has no effect, Fails makes calls fail, Other has another effect.
const (
	Nothing Effect = "nothing"
	Fails   Effect = "fails"
	Other   Effect = "other"
)

// Note is what differs of one field.
type Note struct {
	Effect Effect
	Why    string
}

// Notes are those of proxyless.yaml.
type Notes struct{ messages map[string]map[string]Note }

// Proxyless parses the notes that are built in. An error names the row.
func Proxyless() (*Notes, error) {
	var file struct {
		Messages map[string]map[string]string `json:"messages"`
	}
	if err := yaml.UnmarshalStrict(proxylessYAML, &file); err != nil {
		return nil, fmt.Errorf("apis/proxyless.yaml: %w", err)
	}
	out := &Notes{messages: map[string]map[string]Note{}}
	for message, rows := range file.Messages {
		out.messages[message] = map[string]Note{}
		for field, text := range rows {
			effect, why, _ := strings.Cut(text, ", ")
			n := Note{Effect: Effect(effect), Why: why}
			if n.Effect != Nothing && n.Effect != Fails && n.Effect != Other || why == "" {
				return nil, fmt.Errorf("apis/proxyless.yaml: %s.%s: a row is \"nothing|fails|other, WHY\", not %q", message, field, text)
			}
			out.messages[message][field] = n
		}
	}
	return out, nil
}

// Of returns the note on a field, by the full name of its protobuf message and
// its name in YAML, or on one value of an enum, FIELD=VALUE.
func (n *Notes) Of(message, field string) Note { return n.messages[message][field] }

// Messages lists the messages that have notes, sorted.
func (n *Notes) Messages() []string { return slices.Sorted(maps.Keys(n.messages)) }

// Fields lists the rows of a message, sorted.
func (n *Notes) Fields(message string) []string {
	return slices.Sorted(maps.Keys(n.messages[message]))
}
