package config

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Document is one object of a file before it is typed, of whatever kind: for
// those who read kinds that a Set does not hold.
type Document struct {
	File             string
	Line             int // from 1, of the document's first line
	APIVersion, Kind string
	JSON             []byte
	// Err says why it is no object; the other fields but File and Line are then
	// empty.
	Err error
}

// Documents splits a file as Decode does, and the items of Lists as well.
func Documents(file string, data []byte) (out []Document) {
	for _, d := range split(file, data) {
		if len(d.text) > MaxDocument {
			out = append(out, Document{File: file, Line: d.line, Err: fmt.Errorf("the document is larger than %d bytes", MaxDocument)})
			continue
		}
		raw, err := toJSON(d.text)
		if err != nil {
			line, text := yamlError(err)
			out = append(out, Document{File: file, Line: d.line + line - 1, Err: errors.New(text)})
			continue
		}
		if string(raw) != "null" {
			out = append(out, documents(file, d.line, raw)...)
		}
	}
	return out
}

func documents(file string, line int, raw []byte) (out []Document) {
	var h struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Items      []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(raw, &h); err != nil {
		return []Document{{File: file, Line: line, Err: fmt.Errorf("not a Kubernetes object: %w", err)}}
	}
	if h.Items == nil {
		return []Document{{File: file, Line: line, APIVersion: h.APIVersion, Kind: h.Kind, JSON: raw}}
	}
	for _, item := range h.Items {
		out = append(out, documents(file, line, item)...)
	}
	return out
}
