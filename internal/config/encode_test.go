package config

import (
	"testing"

	"google.golang.org/protobuf/proto"
)

// What is written is read as the same, without what nobody wrote.
func TestEncode(t *testing.T) {
	const text = `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  annotations:
    a: c
    kubectl.kubernetes.io/last-applied-configuration: '{"all": "of it"}'
  labels:
    app: x
  name: one
  namespace: s
spec:
  configPatches:
  - applyTo: CLUSTER
    patch:
      operation: REMOVE
`
	first, found := Decode("a.yaml", []byte(text))
	if len(found) > 0 {
		t.Fatal(found)
	}
	written, err := Encode(first[0])
	if err != nil {
		t.Fatal(err)
	}
	again, found := Decode("b.yaml", written)
	if len(found) > 0 || len(again) != 1 {
		t.Fatalf("%v\n%s", found, written)
	}
	a, b := first[0], again[0]
	if !proto.Equal(a.Spec.(proto.Message), b.Spec.(proto.Message)) || a.Key() != b.Key() || b.Labels["app"] != "x" || len(b.Annotations) != 1 {
		t.Errorf("%+v\n%s", b, written)
	}
	if _, err := Encode(&Object{Kind: Pod, Name: "p"}); err == nil {
		t.Error("a pod was written")
	}
}
