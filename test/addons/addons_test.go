package addons

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const folder = "../../samples/addons"

func dashboards(t *testing.T) []Dashboard {
	t.Helper()
	all, err := Dashboards(filepath.Join(folder, "dashboards"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var variable = regexp.MustCompile(`\$\{?(\w+)\}?`)

// Every dashboard can be provisioned, and every panel says what it shows.
func TestDashboardsSayWhatTheyShow(t *testing.T) {
	kustomization, err := os.ReadFile(filepath.Join(folder, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	uids := map[string]bool{}
	for _, d := range dashboards(t) {
		if d.UID == "" || uids[d.UID] || d.Title == "" || d.Description == "" {
			t.Errorf("%s: uid %q, title %q, description %q: want all, and a uid of its own", d.File, d.UID, d.Title, d.Description)
		}
		if uids[d.UID] = true; !strings.Contains(string(kustomization), "dashboards/"+d.File) {
			t.Errorf("kustomization.yaml does not have %s", d.File)
		}
		known := []string{"datasource", "__rate_interval"}
		for _, v := range d.Templating.List {
			if v.Label == "" {
				t.Errorf("%s: variable %s has no label", d.File, v.Name)
			}
			if v.Type == "query" {
				d.asks(t, "variable "+v.Name, v.Query, known)
			}
			known = append(known, v.Name)
		}
		ids := map[int]bool{}
		for i, p := range d.Panels {
			if ids[p.ID] || p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
				t.Errorf("%s: panel %d %q lacks an id of its own, title, description, unit or query", d.File, p.ID, p.Title)
			}
			ids[p.ID] = true
			for _, q := range p.Targets {
				d.asks(t, p.Title, q.Expr, known)
			}
			if over := slices.IndexFunc(d.Panels[:i], p.overlaps); over >= 0 {
				t.Errorf("%s: panels %q and %q overlap", d.File, p.Title, d.Panels[over].Title)
			}
		}
	}
}

// asks wants a query whose variables are known before it.
func (d Dashboard) asks(t *testing.T, where, query string, known []string) {
	t.Helper()
	if query == "" {
		t.Errorf("%s: %s asks for nothing", d.File, where)
	}
	for _, m := range variable.FindAllStringSubmatch(query, -1) {
		if !slices.Contains(known, m[1]) {
			t.Errorf("%s: %s has $%s, which is no variable before it", d.File, where, m[1])
		}
	}
}

func (p Panel) overlaps(o Panel) bool {
	a, b := p.GridPos, o.GridPos
	return a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H || a.X+a.W > 24
}

// promtool runs Prometheus's own checker in a copy of the folder.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	switch {
	case err != nil && os.Getenv("CI") != "":
		t.Fatalf("%v: on Debian, apt-get install prometheus", err)
	case err != nil:
		t.Skipf("%v: on Debian, apt-get install prometheus", err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// The alerts are due when they should be, and only then.
func TestAlerts(t *testing.T) {
	rules, err := Rules(filepath.Join(folder, "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		RuleFiles          []string `json:"rule_files"`
		EvaluationInterval string   `json:"evaluation_interval"`
		Tests              []struct {
			Interval      string
			InputSeries   []struct{ Series, Values string } `json:"input_series"`
			AlertRuleTest []struct {
				EvalTime  string `json:"eval_time"`
				Alertname string
				ExpAlerts []any `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		}
	}
	if err := readYAML(filepath.Join(folder, "alerts.test.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	due := map[string]map[bool]bool{}
	for _, c := range file.Tests {
		for _, a := range c.AlertRuleTest {
			if due[a.Alertname] == nil {
				due[a.Alertname] = map[bool]bool{}
			}
			due[a.Alertname][len(a.ExpAlerts) > 0] = true
		}
	}
	for _, r := range rules {
		if len(due[r.Alert]) != 2 {
			t.Errorf("%s has no case in which it is due, or none in which it is not", r.Alert)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
			t.Errorf("%s says too little", r.Alert)
		}
	}
	promtool(t, folder, "test", "rules", "alerts.test.yaml")
	promtool(t, folder, "check", "rules", "--lint-fatal", "alerts.yaml")
}

// Prometheus takes its configuration, and what the operator makes of the
// PodMonitor. Debian's is built without the discovery of Kubernetes' pods, so a file
// stands for it.
func TestConfiguration(t *testing.T) {
	dir := t.TempDir()
	jobs, err := PodMonitors(filepath.Join(folder, "monitors.yaml"), "pods.json")
	if err != nil {
		t.Fatal(err)
	}
	monitors, err := yaml.Marshal(map[string]any{"scrape_configs": jobs})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "monitors.yml"), monitors, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"prometheus.yml", "alerts.yaml"} {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(Discovering(string(text), "pods.json")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, dir, "check", "config", "prometheus.yml")
	promtool(t, dir, "check", "config", "monitors.yml")
}

func TestRuleAsksWithoutItsBounds(t *testing.T) {
	for expr, want := range map[string]string{
		`x > 0 and x - time() < 604800`: `x and x - time()`, `absent(up{app="a"} == 1)`: `up{app="a"}`, `1 - (a or 0 * b) / b > 0.05`: `1 - (a or 0 * b) / b`,
	} {
		if got := (Rule{Expr: expr}).Asks(); got != want {
			t.Errorf("%s: asks %s, want %s", expr, got, want)
		}
	}
}
