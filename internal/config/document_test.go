package config

import (
	"strings"
	"testing"
)

const (
	nodeA = `{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}`
	nodeB = `{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "b"}}`
)

// No document of a file is passed over, however they are told apart.
func TestEveryDocumentIsRead(t *testing.T) {
	windows := strings.ReplaceAll("apiVersion: v1\nkind: Node\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: b}\n", "\n", "\r\n")
	for name, text := range map[string]string{
		"lines of Windows":        windows,
		"byte order mark":         "\ufeff" + nodeA + "\n---\n" + nodeB,
		"comment":                 nodeA + "\n--- # second\n" + nodeB,
		"on the separator's line": "--- " + nodeA + "\n--- " + nodeB + "\n",
		"end marker":              nodeA + "\n...\n" + nodeB + "\n...\n---\n",
		"JSON after JSON":         nodeA + "\n" + nodeB + "\n",
		"JSON on one line":        nodeA + nodeB,
	} {
		objects, found := Decode("a.yaml", []byte(text))
		if len(found) > 0 || len(objects) != 2 || objects[1].Name != "b" {
			t.Errorf("%s: got %d objects, %v", name, len(objects), found)
		}
	}
}

func TestLinesAfterSeparators(t *testing.T) {
	_, found := Decode("a.yaml", []byte("--- # one\n"+nodeA+"\n---\r\n\n{apiVersion: v1, kind: Node, metadata: {name: b},\n nope: 1}\n"))
	if len(found) != 1 || found[0].Object.Line != 6 {
		t.Errorf("got %v", found)
	}
	_, found = Decode("a.json", []byte(nodeA+"\n"+`{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "b"}, "nope": 1}`))
	if len(found) != 1 || found[0].Object.Line != 2 {
		t.Errorf("got %v", found)
	}
}

// A value of the wrong type is told at its own field and line.
func TestWrongTypeNamesTheField(t *testing.T) {
	vs := "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n  http:\n  - route: [{destination: {host: a}}]\n"
	for _, c := range []struct {
		text, path, say string
		line            int
	}{
		{vs + "    timeout: 5 apples\n", "spec.http[0].timeout", "bad Duration", 8},
		{vs + "    headers:\n      request:\n        set: {a: yes}\n", "spec.http[0].headers.request.set", "in quotes", 10},
		{vs + "    fault:\n      abort: {httpStatus: many}\n", "spec.http[0].fault.abort.httpStatus", "", 9},
		{vs + "    retries: 3\n", "spec.http[0].retries", "object is expected", 8},
		{"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  clusterIP: 5\n", "spec.clusterIP", "string is expected", 5},
		{"apiVersion: v1\nkind: Service\nmetadata:\n  name: 5\n", "metadata.name", "string is expected", 4},
		{"[1, 2]", "", "object is expected", 1},
	} {
		_, found := Decode("a.yaml", []byte(c.text))
		if len(found) != 1 || found[0].Path != c.path || !strings.Contains(found[0].Message, c.say) || found[0].Object.Line != c.line {
			t.Errorf("%s: got %+v", c.path, found)
		}
		if len(found) == 1 && strings.Contains(found[0].Message, "Go ") {
			t.Errorf("%s: %s", c.path, found[0].Message)
		}
	}
}

// Of two fields of which only one may be set, none is dropped in silence: an API
// server refuses such an object by its schema, a folder has none.
func TestOnlyOneOf(t *testing.T) {
	rule := "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a, trafficPolicy: {loadBalancer: {"
	for text, path := range map[string]string{
		"simple: RANDOM, consistentHash: {useSourceIp: true}":          "spec.trafficPolicy.loadBalancer.simple",
		"consistentHash: {useSourceIp: true, httpHeaderName: x}":       "spec.trafficPolicy.loadBalancer.consistentHash.useSourceIp",
		"consistentHash: {http_header_name: x, httpCookie: {name: c}}": "spec.trafficPolicy.loadBalancer.consistentHash.http_header_name",
		"simple: RANDOM, consistentHash: null":                         "",
	} {
		objects, found := Decode("a.yaml", []byte(rule+text+"}}}\n"))
		if path == "" && (len(found) > 0 || len(objects) != 1) {
			t.Errorf("%s: got %v", text, found)
		}
		if path != "" && (len(found) != 1 || found[0].Path != path || !strings.Contains(found[0].Message, "only one of")) {
			t.Errorf("%s: got %v", text, found)
		}
	}
}

// What is not a number reaches the check of its own field.
func TestNotANumber(t *testing.T) {
	for _, v := range []string{".nan", ".inf", "-.INF", "NaN"} {
		objects, found := Decode("a.yaml", []byte("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n  http:\n  - fault: {abort: {httpStatus: 500, percentage: {value: "+v+"}}}\n    route: [{destination: {host: a}}]\n"))
		if len(found) > 0 || len(objects) != 1 {
			t.Errorf("%s: got %v", v, found)
		}
	}
}
