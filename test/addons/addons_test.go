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

	"github.com/weftmesh/weft/test/prometheus"
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
	cmd := exec.CommandContext(t.Context(), prometheus.Program(t, "promtool"), args...)
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

// The panels of the mesh show a service that pods without proxies alone call: its
// server's proxy counts them.
func TestMeshShowsCallersWithoutProxies(t *testing.T) {
	const of = `{reporter="destination",source_workload="unknown",destination_service_namespace="shop",destination_service_name="reviews",response_code="503",response_flags="UO"`
	series, tests := []map[string]string{}, []map[string]any{}
	for _, name := range []string{"istio_requests_total", "istio_tcp_connections_opened_total", "istio_tcp_received_bytes_total", "istio_tcp_sent_bytes_total"} {
		series = append(series, map[string]string{"series": name + of + "}", "values": "0+60x30"})
	}
	for _, le := range []string{"1000", "+Inf"} {
		series = append(series, map[string]string{"series": "istio_request_duration_milliseconds_bucket" + of + `,le="` + le + `"}`, "values": "0+60x30"})
	}
	// A little that callers' proxies tell of another service changes none of it.
	series = append(series, map[string]string{"series": `istio_requests_total{reporter="source",destination_service_namespace="shop",destination_service_name="till",response_code="200",response_flags="-"}`, "values": "0+1x30"})
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				if d.File == "mesh.json" && p.Title == "Success" {
					expr := strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*").Replace(q.Expr)
					tests = append(tests, map[string]any{"expr": "(" + expr + ") < bool 0.1", "eval_time": "15m", "exp_samples": []map[string]any{{"labels": "{}", "value": 1}}})
				}
				if d.File == "mesh.json" && strings.Contains(q.Expr, `reporter="source"`) {
					expr := strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*").Replace(q.Expr)
					tests = append(tests, map[string]any{"expr": "count(" + expr + ") > bool 0", "eval_time": "15m", "exp_samples": []map[string]any{{"labels": "{}", "value": 1}}})
				}
			}
		}
	}
	if len(tests) < 10 {
		t.Fatalf("%d panels are of callers' words: want 10 and more", len(tests))
	}
	file, err := yaml.Marshal(map[string]any{"evaluation_interval": "1m", "tests": []map[string]any{{"interval": "1m", "input_series": series, "promql_expr_test": tests}}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mesh.yaml"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, dir, "test", "rules", "mesh.yaml")
}

// A workload's panels are of its own pods, not of those of one whose name begins with
// its name.
func TestWorkloadsPods(t *testing.T) {
	chosen, n := regexp.MustCompile(`pod=~"([^"]*)"`), 0
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				for _, m := range chosen.FindAllStringSubmatch(q.Expr, -1) {
					if !strings.Contains(m[1], "$workload") {
						continue
					}
					n++
					pods := regexp.MustCompile("^(?:" + strings.ReplaceAll(m[1], "$workload", "reviews") + ")$")
					for pod, want := range map[string]bool{"reviews-6d4f9c7b8-x2x7z": true, "reviews-0": true, "reviews-x2x7z": true, "reviews-v1-6d4f9c7b8-x2x7z": false, "old-reviews-0": false, "reviews-v1-0": false, "reviews-v2-x2x7z": false} {
						if pods.MatchString(pod) != want {
							t.Errorf("%s: %s chooses %s: %t, want %t", d.File, p.Title, pod, !want, want)
						}
					}
				}
			}
		}
	}
	if n == 0 {
		t.Error("no panel chooses pods of a workload")
	}
}
