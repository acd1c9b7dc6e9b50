package install

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// shape is what the check of keys reads of the chart's values.schema.json.
type shape struct {
	Properties           map[string]*shape `json:"properties"`
	AdditionalProperties json.RawMessage   `json:"additionalProperties"`
	Items                *shape            `json:"items"`
	Ref                  string            `json:"$ref"`
	Defs                 map[string]*shape `json:"$defs"`
	root                 *shape
}

// valuesSchema is the shape of the chart's values.
func valuesSchema() (*shape, error) {
	text, err := files.ReadFile(chartDir + "/values.schema.json")
	if err != nil {
		return nil, err
	}
	var s shape
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("values.schema.json: %w", err)
	}
	s.root = &s
	return &s, nil
}

// check reports the first key of values, in order of the alphabet, that the
// schema does not have. Types are Helm's check to make.
func (s *shape) check(values map[string]any) error { return s.root.under(s.root, "", values) }

func (s *shape) under(at *shape, path string, v any) error {
	at = s.resolve(at)
	if at == nil {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			next, ok := at.Properties[key]
			if !ok && string(at.AdditionalProperties) == "false" {
				return unknownKey(path, key, slices.Sorted(maps.Keys(at.Properties)))
			}
			if err := s.under(next, join(path, key), v[key]); err != nil {
				return err
			}
		}
	case []any:
		for i, item := range v {
			if err := s.under(at.Items, fmt.Sprintf("%s[%d]", path, i), item); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *shape) resolve(at *shape) *shape {
	if at != nil && at.Ref != "" {
		return s.Defs[strings.TrimPrefix(at.Ref, "#/$defs/")]
	}
	return at
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func unknownKey(path, key string, known []string) error {
	whole := join(path, key)
	near := nearest(key, known)
	if near != "" {
		return fmt.Errorf("there is no value %s; did you mean %s?", whole, join(path, near))
	}
	where := "at the top"
	if path != "" {
		where = "in " + path
	}
	return fmt.Errorf("there is no value %s; %s there are %s", whole, where, strings.Join(known, ", "))
}

// nearest is the name that takes the fewest changes of letters, if they are no
// more than a third of it; "" if there is none.
func nearest(word string, names []string) string {
	best, least := "", len(word)/3+1
	for _, name := range names {
		if d := distance(strings.ToLower(word), strings.ToLower(name)); d <= least && (best == "" || d < least) {
			best, least = name, d
		}
	}
	return best
}

// distance is Levenshtein's: letters put in, left out or replaced.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
