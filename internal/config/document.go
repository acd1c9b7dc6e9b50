package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// separator begins or ends a document (YAML 1.2.2, 9.1.4). What follows it in
// its line belongs to the document, unless it is a comment. The line may end
// as Windows ends it.
var separator = regexp.MustCompile(`(?m)^(?:---|\.\.\.)(?:[ \t]*\r?$|[ \t]+#.*$|[ \t])`)

// split cuts a file into its documents, so that none of them is passed over.
func split(file string, data []byte) (out []document) {
	line := 1
	add := func(text []byte) {
		for bytes.HasPrefix(text, []byte("\n")) {
			text, line = text[1:], line+1
		}
		for _, t := range splitJSON(text) {
			if len(bytes.TrimSpace(t)) > 0 {
				out = append(out, document{file: file, line: line, text: t})
			}
			line += bytes.Count(t, []byte("\n"))
		}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	last := 0
	for _, m := range separator.FindAllIndex(data, -1) {
		add(data[last:m[0]])
		last = m[1]
	}
	add(data[last:])
	return out
}

// splitJSON cuts a text of several JSON objects, one after another, as kubectl
// takes them; any other text is one.
func splitJSON(text []byte) [][]byte {
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return [][]byte{text}
	}
	var out [][]byte
	decoder := json.NewDecoder(bytes.NewReader(text))
	last := int64(0)
	for decoder.More() {
		var one json.RawMessage
		if decoder.Decode(&one) != nil {
			return [][]byte{text}
		}
		out = append(out, text[last:decoder.InputOffset()])
		last = decoder.InputOffset()
	}
	return append(out, text[last:])
}

// toJSON turns a document into JSON. JSON has no NaN and no infinity: they
// become the strings that the JSON form of Protocol Buffers uses, so that the
// field that holds one is named, not the whole file refused.
func toJSON(text []byte) ([]byte, error) {
	raw, err := yaml.YAMLToJSONStrict(text)
	if err == nil || !strings.Contains(err.Error(), "unsupported value") {
		return raw, err
	}
	var root yamlv3.Node
	if yamlv3.Unmarshal(text, &root) != nil {
		return nil, err
	}
	nameNotNumbers(&root)
	text, marshalErr := yamlv3.Marshal(&root)
	if marshalErr != nil {
		return nil, fmt.Errorf("%w; %w", err, marshalErr)
	}
	return yaml.YAMLToJSONStrict(text)
}

var notNumbers = map[string]string{".nan": "NaN", ".inf": "Infinity", "+.inf": "Infinity", "-.inf": "-Infinity"}

func nameNotNumbers(n *yamlv3.Node) {
	if name, ok := notNumbers[strings.ToLower(n.Value)]; ok && n.Kind == yamlv3.ScalarNode && n.Tag == "!!float" {
		n.SetString(name)
	}
	for _, c := range n.Content {
		nameNotNumbers(c)
	}
}
