package golden_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"

	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/test/envoy"
	"github.com/weftmesh/weft/test/golden"
)

// TestRaw holds the simulator to Envoy on configurations that are written as
// Envoy's own resources: what no translator makes today is covered too.
func TestRaw(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	binary, err := envoybin.Ensure(t.Context(), func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			f, err := golden.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			content, _ := f.Get("resources.yaml")
			resources, err := decode(content)
			if err != nil {
				t.Fatal(err)
			}
			content, _ = f.Get("calls.yaml")
			calls, err := golden.Calls(content)
			if err != nil {
				t.Fatal(err)
			}
			config, err := simulate.New(resources)
			if err != nil {
				t.Fatal(err)
			}
			proxy, err := envoy.Start(t.Context(), envoy.Options{Binary: binary, Resources: resources})
			if err != nil {
				t.Fatal(err)
			}
			defer proxy.Close()
			for _, problem := range golden.Check(t.Context(), calls, golden.Resolver{}, config, proxy) {
				t.Error(problem)
			}
			if t.Failed() {
				t.Log(proxy.Log())
			}
		})
	}
}

// decode reads resources as YAML documents of one list each entry of which has
// an @type.
func decode(content string) ([]*discovery.Resource, error) {
	var all []json.RawMessage
	if err := yaml.UnmarshalStrict([]byte(content), &all); err != nil {
		return nil, err
	}
	var out []*discovery.Resource
	for i, raw := range all {
		body := &anypb.Any{}
		if err := protojson.Unmarshal(raw, body); err != nil {
			return nil, fmt.Errorf("resource %d: %w", i, err)
		}
		m, err := body.UnmarshalNew()
		if err != nil {
			return nil, err
		}
		out = append(out, &discovery.Resource{Name: nameOf(m), Version: "1", Resource: body})
	}
	return out, nil
}

func nameOf(m proto.Message) string {
	switch m := m.(type) {
	case interface{ GetClusterName() string }:
		return m.GetClusterName()
	case interface{ GetName() string }:
		return m.GetName()
	}
	return ""
}
