package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The guide's example does what the guide says of it.
func TestConvertTheGuidesIngress(t *testing.T) {
	text, err := os.ReadFile("../../docs/guides/from-nginx-ingress.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(string(text))
	file := filepath.Join(t.TempDir(), "web.yaml")
	// The guide takes the Service from the cluster.
	block[1] += "---\napiVersion: v1\nkind: Service\nmetadata: {name: details, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}\n"
	if err := os.WriteFile(file, []byte(block[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, said := run(t, "convert", "ingress", "-f", file)
	if code != 1 || !strings.Contains(said, "limit-rps") {
		t.Errorf("exit code %d, said %s", code, said)
	}
	for _, want := range []string{"name: ingress\n", "name: shop-example-com\n", "uriRegexRewrite", "# ", "limit-rps"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	_, out, _ = run(t, "convert", "ingress", "-f", filepath.Dir(file), "-o", "json")
	var list struct{ Items []struct{ Kind string } }
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list.Items) != 2 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestConvertSaysWhatIsWrong(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.yaml")
	if err := os.WriteFile(empty, []byte("kind: Service\napiVersion: v1\nmetadata: {name: a}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]struct {
		code int
		args []string
	}{
		"say what to read":            {2, nil},
		"there is no Ingress":         {1, []string{"-f", empty}},
		"no such file":                {1, []string{"-f", empty + "x"}},
		"-o table: it may be yaml or": {2, []string{"-f", empty, "-o", "table"}},
	} {
		if code, _, said := run(t, append([]string{"convert", "ingress"}, c.args...)...); code != c.code || !strings.Contains(said, want) {
			t.Errorf("%v: exit code %d, %s", c.args, code, said)
		}
	}
}
