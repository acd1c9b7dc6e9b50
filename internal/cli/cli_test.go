package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/local/controller"
)

var update = flag.Bool("update", false, "rewrite the expectations of testdata")

// run is one command line of weft, with what it prints.
func run(t *testing.T, args ...string) (code int, out, err string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{version: "v1.2.3", out: &stdout, err: &stderr}
	root := a.command()
	root.SetArgs(args)
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	code = a.code(root.ExecuteContext(t.Context()))
	return code, stdout.String(), stderr.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s has\n%s\ngot\n%s\n(go test ./internal/cli -args -update, if it is meant)", file, want, got)
	}
}

func TestHelp(t *testing.T) {
	t.Setenv("WEFT_MESH", "")
	code, out, _ := run(t, "--help")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	for line := range strings.Lines(out) {
		if len(strings.TrimSpace(line)) > 100 {
			t.Errorf("over 100 columns: %s", line)
		}
	}
	golden(t, "help.txt", out)
}

// Wrong use is exit code 2 and says what would be right.
func TestWrongUse(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"nosuch", `there is no command "nosuch"; weft --help`},
		{"log", "did you mean logs"},
		{"up --nosuch", "--nosuch"},
		{"up a b", "usage: weft up [DIR]"},
		{"up testdata/help.txt", "is not a folder"},
		{"up . --publish 80", "such as 80=127.0.0.1:9080"},
		{"ps -o yaml", "-o yaml: it may be wide or json"},
		{"exec web ls", "weft exec POD -- COMMAND"},
		{"exec web --", "weft exec POD -- COMMAND"},
		{"logs", "usage: weft logs POD"},
		{"proxy-config routes", "usage: weft proxy-config"},
		{"proxy-config nosuch web", "listeners, routes, clusters"},
		{"translate", "usage: weft translate DIR"},
		{"version x", "usage: weft version"},
	} {
		code, out, err := run(t, strings.Fields(c.args)...)
		if code != 2 || !strings.Contains(err, c.says) || out != "" {
			t.Errorf("weft %s: exit code %d, output %q, error %q; want 2 and %q", c.args, code, out, err, c.says)
		}
	}
}

func TestVersion(t *testing.T) {
	if code, out, _ := run(t, "--version"); code != 0 || out != "weft v1.2.3\n" {
		t.Errorf("exit code %d, %q", code, out)
	}
	if code, out, _ := run(t, "version", "-o", "json"); code != 0 || !strings.Contains(out, `"version": "v1.2.3"`) || !strings.Contains(out, `"envoy": "1.`) {
		t.Errorf("exit code %d, %s", code, out)
	}
}

func TestAnalyze(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "route.yaml")
	save := func(host string) {
		text := "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a.example]\n  http:\n  - route: [{destination: {host: " + host + "}}]\n---\napiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec: {ports: [{name: http, port: 80}], selector: {app: b}}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	save("b")
	if code, out, err := run(t, "analyze", dir); code != 0 || out != "nothing is wrong\n" {
		t.Errorf("exit code %d, %s %s", code, out, err)
	}
	save("nowhere")
	if code, out, _ := run(t, "analyze", dir); code != 1 || !strings.HasPrefix(out, file+":1: error IST0101 VirtualService default/a spec.http[0].route[0].destination.host") {
		t.Errorf("exit code %d, %s", code, out)
	}
	save("b")
	app := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template: {spec: {containers: [{name: web, image: web}]}}\n"
	if err := os.WriteFile(filepath.Join(dir, "web.yaml"), []byte(app), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "web.yaml:1: warning WEFT0110 Deployment default/web spec.template.spec.containers[0].command: container web: it has no command"
	if code, out, _ := run(t, "analyze", dir); code != 0 || !strings.Contains(out, want) || !strings.Contains(out, "weft.mesh/local-command") {
		t.Errorf("an image alone: exit code %d, %s", code, out)
	}
	save("nowhere")
	if code, out, _ := run(t, "analyze", file, "-o", "json"); code != 1 || !strings.Contains(out, `"code": "IST0101"`) || strings.Contains(out, "WEFT0110") {
		t.Errorf("one file: exit code %d, %s", code, out)
	}
	t.Setenv("KUBECONFIG", filepath.Join(dir, "none"))
	if code, _, said := run(t, "analyze"); code != 2 || !strings.Contains(said, "--kubeconfig") {
		t.Errorf("neither files nor a cluster: exit code %d, %s", code, said)
	}
	t.Chdir(dir)
	if _, out, _ := run(t, "analyze", dir); !strings.HasPrefix(out, "route.yaml:1: error") {
		t.Errorf("from its own folder: %s", out)
	}
	if code, _, _ := run(t, "analyze", filepath.Join(dir, "nosuch")); code != 1 {
		t.Errorf("a folder that is not there: exit code %d", code)
	}
}

func TestParsePublish(t *testing.T) {
	got, err := parsePublish([]string{"80=127.0.0.1:9080", "443=[::1]:0"})
	if err != nil || len(got) != 2 || got[80] != "127.0.0.1:9080" || got[443] != "[::1]:0" {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []string{"", "80", "80=", "80=9080", "0=127.0.0.1:1", "65536=127.0.0.1:1", "x=127.0.0.1:1", "80=127.0.0.1:x", "80=127.0.0.1:70000", "80=127.0.0.1:"} {
		if got, err := parsePublish([]string{bad}); err == nil || !strings.Contains(err.Error(), "GATEWAYPORT=HOST:PORT") {
			t.Errorf("%q: %v %v", bad, got, err)
		}
	}
}

func TestFind(t *testing.T) {
	pod := func(namespace, workload, suffix string, ready bool) controller.PodStatus {
		return controller.PodStatus{Namespace: namespace, Name: workload + "-" + suffix, Workload: workload, Ready: ready, Phase: "Running"}
	}
	st := controller.Status{Pods: []controller.PodStatus{
		pod("default", "reviews-v1", "aaaaa", false), pod("default", "reviews-v1", "bbbbb", true), pod("default", "reviews-v2", "ccccc", true),
		pod("other", "web", "ddddd", true), pod("default", "down", "eeeee", false),
	}}
	for _, c := range []struct{ name, namespace, want string }{
		{"reviews-v1", "", "reviews-v1-bbbbb"}, // the ready one
		{"reviews-v1-aaaaa", "", "reviews-v1-aaaaa"},
		{"reviews-v1-a", "", "reviews-v1-aaaaa"},
		{"reviews-v2", "default", "reviews-v2-ccccc"},
		{"other/web", "", "web-ddddd"},
		{"we", "other", "web-ddddd"},
		{"down", "", "down-eeeee"},
	} {
		if got, err := find(st, c.name, c.namespace); err != nil || got.Name != c.want {
			t.Errorf("%q in %q: %s %v, want %s", c.name, c.namespace, got.Name, err, c.want)
		}
	}
	for name, says := range map[string]string{
		"reviews": "3 pods begin so: reviews-v1-aaaaa, reviews-v1-bbbbb, reviews-v2-ccccc", "nosuch": "weft ps lists them", "default/web": "there is none",
	} {
		if got, err := find(st, name, ""); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %s %v, want %q", name, got.Name, err, says)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m", 119 * time.Minute: "1h", 47 * time.Hour: "47h", 49 * time.Hour: "2d",
	} {
		if got := age(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
