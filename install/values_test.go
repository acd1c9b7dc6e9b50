package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Later inputs win, and leave what they do not name.
func TestValuesOrder(t *testing.T) {
	values, err := Inputs{
		Profile: "demo",
		Files:   []string{file(t, "pilot: {replicas: 3}\nca: {replicas: 3}"), "-"}, Stdin: strings.NewReader("ca: {replicas: 4}"),
		Sets: []string{"injector.replicas=5,meshConfig.accessLogFile=/dev/stderr", "hub=example.com/weft,ca.enabled=true"}, Revision: "canary",
	}.Values()
	if err != nil {
		t.Fatal(err)
	}
	m, err := Render(Release{Version: "v1", Values: values})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"replicas: 3", "replicas: 4", "replicas: 5", "replicas: 1", "accessLogFile: /dev/stderr", "image: example.com/weft/ca:v1", "istio.io/rev: canary"} {
		if text, err := m.YAML(); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%v: no %q in the manifest", err, want)
		}
	}
}

func TestWrongValues(t *testing.T) {
	for _, c := range []struct {
		in   Inputs
		says []string
	}{
		{Inputs{Profile: "prod"}, []string{`there is no profile "prod"`, "default, demo, minimal"}},
		{Inputs{Sets: []string{"gateways.ingres.type=NodePort"}}, []string{"--set gateways.ingres", "did you mean gateways.ingress?"}},
		{Inputs{Sets: []string{"pilot.replica=2"}}, []string{"did you mean pilot.replicas?"}},
		{Inputs{Sets: []string{"nonsense=2"}}, []string{"there is no value nonsense; at the top there are", "pilot"}},
		{Inputs{Sets: []string{"gateways.ingress.ports[0].tragetPort=1"}}, []string{"gateways.ingress.ports[0].targetPort?"}},
		{Inputs{Sets: []string{"pilot"}}, []string{"--set pilot", "KEY=VALUE"}},
		{Inputs{Sets: []string{"pilot.replicas=many"}}, []string{"value pilot.replicas: got string, want integer"}},
		{Inputs{Sets: []string{"gateways.ingress.type=Balancer"}}, []string{"value gateways.ingress.type", "LoadBalancer"}},
		{Inputs{Sets: []string{"meshConfig.nosuch=1"}}, []string{"value meshConfig", `"nosuch"`}},
		{Inputs{Revision: "Not_A_Name"}, []string{"value revision"}},
		{Inputs{Files: []string{"/nowhere.yaml"}}, []string{"/nowhere.yaml"}},
		{Inputs{Files: []string{file(t, "pilot: {replicsa: 1}")}}, []string{"values.yaml", "pilot.replicas?"}},
		{Inputs{Files: []string{file(t, "a: 1\na: 2")}}, []string{"values.yaml", `"a"`}},
	} {
		values, err := c.in.Values()
		if err == nil {
			_, err = Render(Release{Version: "v1", Values: values})
		}
		for _, says := range c.says {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%+v: %v\ndoes not say %q", c.in, err, says)
			}
		}
	}
}

// Every value of the chart is in the schema, and no other.
func TestSchemaKnowsAllValues(t *testing.T) {
	c, err := Chart("v1")
	if err != nil {
		t.Fatal(err)
	}
	known, err := valuesSchema()
	if err != nil {
		t.Fatal(err)
	}
	if err := known.check(c.Values); err != nil {
		t.Error(err)
	}
}
